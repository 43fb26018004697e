// Command chaos tortures real callsignd processes and judges what their
// clients saw.
//
// It starts replicas, each in a network namespace of its own behind a switch
// that it runs itself, lets clients work through every one of them while a
// seeded plan of faults strikes, heals everything, and then asks whether the
// history is linearizable (porcupine), whether the revisions tell one story,
// whether all replicas ended with the same state, and whether any process died
// that was not told to.
//
//	main.go       flags, the namespaces around everything, exit status
//	run.go        one run from the first process to the verdict
//	lab.go        where replicas live: namespaces, or loopback without them
//	netswitch.go  the Ethernet switch, which drops, delays, spoils
//	replica.go    life and death of the daemons
//	watcher.go    what the replicas say about themselves meanwhile
//	plan.go       which faults strike when, from the seed; nemesis.go strikes
//	faults*.go    the faults
//	client.go     clients, requests.go how they ask
//	workload.go   what they ask for; claimants.go, nodes.go and streams.go: those
//	              that claim names, take leases, and watch
//	history.go    what they saw
//	model.go      the registry as the names of one room see it, for porcupine
//	judge*.go     the verdict
//	links.go      cuts of a known length, and what they may cost
//	selftest.go   planted bugs that the verdict has to find
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

const (
	exitPass     = 0
	exitFail     = 1
	exitUsage    = 2
	exitNoSpaces = 75 // of the probe: namespaces are not to be had

	memoryLimitBytes = 2 << 30
)

type options struct {
	bin      string
	replicas int
	seconds  int
	seed     int64
	faults   string
	dir      string
	netns    string
	selfTest bool
	judge    string
	verbose  bool
	inside   bool
	probe    bool
	plant    plant
	links    bool
	scenario *linkScenario // of links, one after the other
	cutFor   time.Duration
}

func usage(format string, a ...interface{}) {
	fmt.Fprintf(os.Stderr, "chaos: "+format+"; --help tells more\n", a...)
	os.Exit(exitUsage)
}

func parse() *options {
	o := &options{}
	flag.StringVar(&o.bin, "bin", "callsignd", "the daemon")
	flag.IntVar(&o.replicas, "replicas", 3, "3 or 5")
	flag.IntVar(&o.seconds, "seconds", 25, "how long faults strike")
	flag.Int64Var(&o.seed, "seed", 0,
		"decides the plan of faults and what clients do; 0: by the clock")
	flag.StringVar(&o.faults, "faults", "all",
		"kinds of faults or groups of them, with commas: "+faultNames())
	flag.StringVar(&o.dir, "dir", "",
		"for data, logs and history; by default made under TMPDIR and removed after success")
	flag.StringVar(&o.netns, "netns", "auto", "auto, yes or no: replicas in network namespaces (root)")
	flag.BoolVar(&o.selfTest, "self-test", false, "plant bugs and demand that they are found")
	flag.BoolVar(&o.links, "links", false,
		"instead: partitions of a known length, each with a bound on its cost; --seconds is that of "+
			"the longest, meant to be 60")
	flag.StringVar(&o.judge, "judge", "", "judge a history.jsonl of an earlier run, start nothing")
	flag.BoolVar(&o.verbose, "verbose", false, "print each fault as it strikes")
	flag.BoolVar(&o.inside, "inside", false, "internal: the namespaces are made")
	flag.BoolVar(&o.probe, "probe", false, "internal: only try whether a lab can be made")
	plantName := flag.String("plant", "", "make bugs, joined by +: "+plantNames())
	flag.Parse()
	o.plant = plant(*plantName)
	switch {
	case flag.NArg() > 0:
		usage("%s is no flag", flag.Arg(0))
	case o.replicas < 3 || o.replicas > replicasMax:
		usage("--replicas is from 3 to %d", replicasMax)
	case o.seconds < 1 || o.seconds > 3600:
		usage("--seconds is from 1 to 3600")
	case o.netns != "auto" && o.netns != "yes" && o.netns != "no":
		usage("--netns is auto, yes or no")
	case !o.plant.known():
		usage("--plant %s is not known", o.plant)
	}
	if o.seed == 0 {
		o.seed = time.Now().UnixNano() % 1e9
	}
	return o
}

func main() {
	o := parse()
	debug.SetMemoryLimit(memoryLimitBytes)
	if o.judge != "" {
		os.Exit(judgeFile(o.judge))
	}
	if _, err := selectFaults(o.faults); err != nil {
		usage("--faults: %v", err)
	}
	if o.inside {
		os.Exit(runInside(o))
	}
	os.Exit(runOutside(o))
}

// runOutside prepares the folder and starts this program again inside its
// namespaces. Everything that a run makes - interfaces, mounts, processes -
// lives in them, so that the kernel itself cleans up, whatever ends the run.
func runOutside(o *options) int {
	path, err := exec.LookPath(o.bin)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		usage("--bin: %v", err)
	}
	o.bin = path
	own := o.dir == ""
	if own {
		o.dir, err = os.MkdirTemp("", "callsign-chaos-")
	} else if err = os.MkdirAll(o.dir, 0o755); err == nil {
		o.dir, err = filepath.Abs(o.dir)
	}
	if err != nil {
		usage("--dir: %v", err)
	}
	status := enter(o)
	if own && status == exitPass {
		os.RemoveAll(o.dir)
	}
	return status
}

// enter chooses between namespaces and loopback and carries the run out.
func enter(o *options) int {
	if o.netns == "no" {
		return runInside(o)
	}
	status, err := runNamespaced(o, "--probe")
	if err == nil && status == exitPass {
		if status, err = runNamespaced(o); err == nil {
			return status
		}
	}
	if err == nil {
		err = errors.New("the probe failed")
	}
	if o.netns == "yes" {
		fmt.Fprintf(os.Stderr, "chaos: no network namespaces: %v\n", err)
		return exitFail
	}
	fmt.Printf("chaos: SKIPPED: network faults and full disks; loopback only, because there are no "+
		"network namespaces: %v\n", err)
	o.netns = "no"
	return runInside(o)
}

func runNamespaced(o *options, extra ...string) (int, error) {
	args := []string{"--inside", "--netns=yes", "--bin", o.bin, "--dir", o.dir,
		"--replicas", strconv.Itoa(o.replicas), "--seconds", strconv.Itoa(o.seconds),
		"--seed", strconv.FormatInt(o.seed, 10), "--faults", o.faults,
		"--self-test=" + strconv.FormatBool(o.selfTest), "--links=" + strconv.FormatBool(o.links),
		"--verbose=" + strconv.FormatBool(o.verbose), "--plant=" + string(o.plant)}
	cmd := exec.Command("/proc/self/exe", append(args, extra...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := startOnOwnThread(cmd); err != nil {
		return exitFail, err
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return exitFail, err
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return exitFail, nil
}

func runInside(o *options) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM,
		syscall.SIGHUP)
	defer cancel()
	if o.inside {
		if err := prepareNamespace(); err != nil {
			fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
			return exitNoSpaces
		}
	}
	if o.probe {
		lab, err := newLab(o.replicas, true)
		if err != nil {
			fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
			return exitNoSpaces
		}
		lab.close()
		return exitPass
	}
	if o.selfTest {
		return selfTest(ctx, o)
	}
	if o.links {
		return linkRun(ctx, o)
	}
	res, err := runOnce(ctx, o)
	if err != nil {
		fmt.Printf("chaos: FAIL: %v; logs and data are in %s\n", err, o.dir)
		return exitFail
	}
	return res.report(o)
}
