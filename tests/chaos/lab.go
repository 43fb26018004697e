package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	replicasMax = 7
	peerPort    = 7101
	httpPort    = 8101
	harnessHost = 254 // last byte of the harness' own address
)

// lab is where replicas live: in namespaces behind our switch, or all on the
// loopback interface, where nothing can happen to the net.
type lab struct {
	netns    bool
	net      *netswitch // nil on loopback
	hosts    []string   // address of replica i at i, [0] unused
	holders  []*exec.Cmd
	shutdown []func()
}

// A child's parent-death signal comes when the thread dies that started it,
// not the process; so all children are started by one thread that stays.
var starts = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for f := range starts {
			f()
		}
	}()
}

func startOnOwnThread(cmd *exec.Cmd) error {
	done := make(chan error)
	starts <- func() { done <- cmd.Start() }
	return <-done
}

// prepareNamespace makes the mounts of the fresh namespace private and gives
// it a /proc and a /dev/shm that fit its processes.
func prepareNamespace() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/dev/shm", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting /dev/shm: %w", err)
	}
	return command("ip", "link", "set", "lo", "up")
}

// command runs a program to its end and makes its output the error.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}

func newLab(replicas int, netns bool) (*lab, error) {
	l := &lab{netns: netns, hosts: make([]string, replicas+1)}
	if !netns {
		// A network of our own inside 127/8: fixed ports, and nobody else's.
		r := rand.New(rand.NewSource(time.Now().UnixNano() ^ int64(os.Getpid())))
		a, b := 1+r.Intn(254), 1+r.Intn(254)
		for i := 1; i <= replicas; i++ {
			l.hosts[i] = fmt.Sprintf("127.%d.%d.%d", a, b, i)
		}
		return l, nil
	}
	l.net = newNetswitch(replicas)
	if err := l.wire(replicas); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// wire puts the harness at port 0 of the switch and each replica at its own.
func (l *lab) wire(replicas int) error {
	for i := 0; i <= replicas; i++ {
		device := "chaos" + strconv.Itoa(i)
		port, err := openTap(device)
		if err != nil {
			return err
		}
		l.net.attach(i, port)
		if err := command("ip", "link", "set", device, "address", macText(i)); err != nil {
			return err
		}
		if i == 0 {
			err = addAddress(nil, device, harnessHost)
		} else {
			l.hosts[i] = fmt.Sprintf("10.77.0.%d", i)
			err = l.moveIn(i, device)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func addAddress(prefix []string, device string, host int) error {
	address := fmt.Sprintf("10.77.0.%d/24", host)
	for _, args := range [][]string{
		{"ip", "addr", "add", address, "dev", device},
		{"ip", "link", "set", device, "up"},
	} {
		args = append(append([]string{}, prefix...), args...)
		if err := command(args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// moveIn makes the namespace of replica i, which outlives its processes: one
// that does nothing holds it.
func (l *lab) moveIn(i int, device string) error {
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := startOnOwnThread(holder); err != nil {
		return fmt.Errorf("a network namespace: %w", err)
	}
	l.holders = append(l.holders, holder)
	pid := strconv.Itoa(holder.Process.Pid)
	if err := command("ip", "link", "set", device, "netns", pid); err != nil {
		return err
	}
	enter := l.enter(i)
	if err := command(enter[0], append(enter[1:], "ip", "link", "set", "lo", "up")...); err != nil {
		return err
	}
	return addAddress(enter, device, i)
}

// enter is what runs a program inside the namespace of replica i.
func (l *lab) enter(i int) []string {
	if !l.netns {
		return nil
	}
	return []string{"nsenter", "-t", strconv.Itoa(l.holders[i-1].Process.Pid), "-n", "--"}
}

func (l *lab) peerAddress(i int) string { return fmt.Sprintf("%s:%d", l.hosts[i], peerPort) }
func (l *lab) httpAddress(i int) string { return fmt.Sprintf("%s:%d", l.hosts[i], httpPort) }

func (l *lab) close() {
	if l.net != nil {
		l.net.close()
	}
	for _, h := range l.holders {
		h.Process.Kill()
		h.Wait()
	}
	for i := len(l.shutdown) - 1; i >= 0; i-- {
		l.shutdown[i]()
	}
}
