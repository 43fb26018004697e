package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	restartPause = 250 * time.Millisecond // of a daemon that ended on its own
	termMax      = 10 * time.Second       // README: gone within 10 s of SIGTERM
	lifeMark     = "--- chaos: life "
	tmpfsMiB     = 160 // of a data directory that can be filled ...
	diskLowMiB   = 32  // ... and what is too little for its replica to lead
)

// replica is one daemon over all its lives. A supervisor keeps it running
// while it is wanted; who ends it on purpose says so before.
type replica struct {
	run     *run
	id      int
	folder  string // cwd of the daemon: data, core files
	mounted bool   // folder is a tmpfs of its own, which can be filled
	clock   string // file that says how wrong its clock is; "" for a right one

	mu      sync.Mutex
	wanted  bool
	life    int
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process of this life is gone
	ordered bool          // this life's end was ordered
	excused int           // lives up to this one may break: their disk failed
	broke   map[int]bool  // those of them that did
	busy    bool          // a fault has this replica
	stopped chan struct{} // closed when the supervisor is gone
}

func (r *replica) dataDir() string { return filepath.Join(r.folder, "data") }
func (r *replica) logPath() string { return r.folder + ".log" }

func (r *replica) currentLife() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.life
}

// pid is 0 while it does not run.
func (r *replica) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

func (r *replica) argv() []string {
	l := r.run.lab
	argv := l.enter(r.id)
	if r.clock != "" {
		argv = append(argv, "env", "LD_PRELOAD="+faketimeLibrary(), "FAKETIME_TIMESTAMP_FILE="+r.clock,
			"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1")
	}
	var members []string
	for i := 1; i <= r.run.o.replicas; i++ {
		members = append(members, fmt.Sprintf("%d=%s", i, l.peerAddress(i)))
	}
	argv = append(argv, r.run.o.bin, "--id", strconv.Itoa(r.id), "--data-dir", r.dataDir(),
		"--peer", l.peerAddress(r.id), "--http", l.httpAddress(r.id),
		"--initial-cluster", strings.Join(members, ","),
		"--request-timeout-ms", strconv.Itoa(serverTimeoutMs),
		"--disk-low-mib", strconv.Itoa(diskLowMiB),
		"--snapshot-threshold", strconv.Itoa(r.run.snapshotThreshold),
		"--snapshot-trailing", strconv.Itoa(r.run.snapshotTrailing))
	if l.netns {
		// Who is inside these namespaces is us.
		argv = append(argv, "--insecure")
	}
	return argv
}

func (r *replica) prepare() error {
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return err
	}
	if r.mounted {
		options := fmt.Sprintf("size=%dm", tmpfsMiB)
		if err := syscall.Mount("tmpfs", r.folder, "tmpfs", 0, options); err != nil {
			return fmt.Errorf("tmpfs for a data directory: %w", err)
		}
	}
	if r.clock != "" {
		return setClock(r.clock, 0)
	}
	return nil
}

// start begins a new life. Called with mu held.
func (r *replica) start() error {
	log, err := os.OpenFile(r.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := r.argv()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.folder, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	fmt.Fprintf(log, "%s%d ---\n", lifeMark, r.life+1)
	if err := startOnOwnThread(cmd); err != nil {
		return err
	}
	r.life++
	r.cmd, r.ordered, r.ended = cmd, false, make(chan struct{})
	go r.await(cmd, r.life, r.ended)
	return nil
}

// await judges how a life ended.
func (r *replica) await(cmd *exec.Cmd, life int, ended chan struct{}) {
	cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	r.mu.Lock()
	ordered, excused := r.ordered, life <= r.excused
	r.cmd = nil
	r.mu.Unlock()
	defer close(ended)
	how := fmt.Sprintf("replica %d, life %d: %v", r.id, life, cmd.ProcessState)
	r.run.note("ended: %s", how)
	switch {
	case ordered:
	case excused && status.Exited() && status.ExitStatus() != 0:
		r.run.tally("stopped by its disk")
		r.mu.Lock()
		r.broke[life] = true
		r.mu.Unlock()
	default:
		r.run.find("death", "nobody ended %s; see %s", how, r.logPath())
	}
}

// supervise runs the daemon whenever it is wanted.
func (r *replica) supervise(done <-chan struct{}) {
	defer close(r.stopped)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var notBefore time.Time
	ran := false
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		switch {
		case r.cmd != nil:
			ran = true
		case ran && !r.ordered:
			ran, notBefore = false, time.Now().Add(restartPause)
		case r.wanted && time.Now().After(notBefore):
			if err := r.start(); err != nil {
				r.run.find("harness", "starting replica %d: %v", r.id, err)
				notBefore = time.Now().Add(time.Second)
			}
		}
		r.mu.Unlock()
	}
}

// end stops the daemon with a signal and keeps it down until it is wanted
// again. Returns the channel that tells when it is gone.
func (r *replica) end(signal syscall.Signal) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = false
	if r.cmd == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	r.ordered = true
	r.cmd.Process.Signal(signal)
	return r.ended
}

func (r *replica) want() {
	r.mu.Lock()
	r.wanted = true
	r.mu.Unlock()
}

// terminate asks it politely, and insists that it obeys in time.
func (r *replica) terminate() {
	r.mu.Lock()
	cmd := r.cmd
	r.mu.Unlock()
	gone := r.end(syscall.SIGTERM)
	select {
	case <-gone:
	case <-time.After(termMax):
		r.run.find("death", "replica %d did not end within %v of SIGTERM", r.id, termMax)
		<-r.end(syscall.SIGKILL)
		return
	}
	if cmd != nil && cmd.ProcessState.ExitCode() != 0 {
		r.mu.Lock()
		excused := r.life <= r.excused
		r.mu.Unlock()
		if !excused {
			r.run.find("death", "replica %d answered SIGTERM with %v", r.id, cmd.ProcessState)
		}
	}
}

// excuse lets the present life break, and those that follow until pardoned:
// its disk is about to fail.
func (r *replica) excuse() {
	r.mu.Lock()
	r.excused = 1 << 30
	r.mu.Unlock()
}

// sober ends that: lives that begin from now on have no excuse.
func (r *replica) sober() {
	r.mu.Lock()
	r.excused = r.life
	r.mu.Unlock()
}

func (r *replica) signal(signal syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		r.cmd.Process.Signal(signal)
	}
}

// --- What is left of it -------------------------------------------------------

var fatalLine = regexp.MustCompile(
	`broken invariant|Sanitizer|runtime error:|[Aa]ssertion|double free|stack smashing`)
var brokenLine = regexp.MustCompile(`replica_broken|start_failed|log_unusable`)

// inspect reads the log of all lives and looks for core files.
func (r *replica) inspect() {
	cores, _ := filepath.Glob(filepath.Join(r.folder, "core*"))
	for _, core := range cores {
		r.run.find("death", "replica %d left %s", r.id, core)
	}
	f, err := os.Open(r.logPath())
	if err != nil {
		r.run.find("harness", "%v", err)
		return
	}
	defer f.Close()
	life, broken := 0, map[int]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if strings.HasPrefix(line, lifeMark) {
			life++
		}
		if fatalLine.MatchString(line) {
			r.run.find("log", "%s:%d: %s", r.logPath(), number, line)
		} else if brokenLine.MatchString(line) {
			broken[life] = fmt.Sprintf("%s:%d: %s", r.logPath(), number, line)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for life, text := range broken {
		if !r.broke[life] {
			r.run.find("log", "%s", text)
		}
	}
}

// keep copies data that would go away with its file system.
func (r *replica) keep() {
	if r.mounted {
		kept := r.folder + ".kept"
		if err := command("cp", "-a", r.folder, kept); err != nil {
			fmt.Printf("chaos: %v\n", err)
		}
	}
}
