package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func diskFaults() []*fault {
	ms := time.Millisecond
	return []*fault{
		{"slow-disk", "disk", 3, 500 * ms, 3500 * ms, withoutStrace, slowDisk},
		{"disk-error", "disk", 1, 300 * ms, 1500 * ms, withoutStrace, diskError},
		{"disk-full", "disk", 2, 500 * ms, 3500 * ms, withoutTmpfs, diskFull},
	}
}

func withoutStrace(*run) string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "strace is not installed"
	}
	return ""
}

func withoutTmpfs(r *run) string {
	if !r.lab.netns {
		return "nothing can be mounted without namespaces"
	}
	return ""
}

// What a disk is written with, by whichever half of raft_io.
const diskCalls = "io_submit,fsync,fdatasync,pwrite64,pwritev,pwritev2"

// inject tampers with the system calls of a running daemon until undone.
func (n *nemesis) inject(r *replica, how string) (func(), error) {
	pid := r.pid()
	if pid == 0 {
		return nil, errNotNow
	}
	attached, err := os.CreateTemp(n.run.o.dir, "strace-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(attached.Name())
	defer attached.Close()
	cmd := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "trace="+diskCalls,
		"-e", "inject="+diskCalls+":"+how, "-p", strconv.Itoa(pid))
	cmd.Stderr = attached
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOnOwnThread(cmd); err != nil {
		return nil, err
	}
	undo := func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for deadline := time.Now().Add(3 * time.Second); ; {
		said, _ := os.ReadFile(attached.Name())
		if strings.Contains(string(said), "attached") {
			return undo, nil
		}
		if time.Now().After(deadline) || !wait(n.ctx, 5*time.Millisecond) {
			undo()
			return nil, fmt.Errorf("strace did not attach: %s", strings.TrimSpace(string(said)))
		}
	}
}

func slowDisk(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := n.seize(rng, nil)
	if r == nil {
		return "", nil, errNotNow
	}
	delay := time.Duration(2+rng.Intn(150)) * time.Millisecond
	undo, err := n.inject(r, fmt.Sprintf("delay_exit=%d", delay.Microseconds()))
	if err != nil {
		n.release(r)
		return "", nil, err
	}
	return fmt.Sprintf("replica %d, each write takes %v", r.id, delay), func() {
		undo()
		n.release(r)
	}, nil
}

// diskError lets one write fail. A replica may stop then, and must not go on
// as if it had been written.
func diskError(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := n.seize(rng, nil)
	if r == nil {
		return "", nil, errNotNow
	}
	r.excuse()
	when := 1 + rng.Intn(6)
	undo, err := n.inject(r, fmt.Sprintf("error=EIO:when=%d", when))
	end := func() {
		if undo != nil {
			undo()
		}
		r.sober()
		n.release(r)
	}
	if err != nil {
		end()
		return "", nil, err
	}
	return fmt.Sprintf("replica %d, EIO for write %d", r.id, when), end, nil
}

// diskFull fills the file system of a replica and keeps it full, or so full
// that the replica should notice.
func diskFull(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := n.seize(rng, func(r *replica) bool { return r.mounted })
	if r == nil {
		return "", nil, errNotNow
	}
	r.excuse()
	path := filepath.Join(r.folder, "balloon")
	balloon, err := os.Create(path)
	if err != nil {
		r.sober()
		n.release(r)
		return "", nil, err
	}
	left := rng.Intn(2) * rng.Intn(diskLowMiB)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			inflate(balloon, left)
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond): // meanwhile snapshots may free some
			}
		}
	}()
	return fmt.Sprintf("replica %d, %d MiB left", r.id, left), func() {
		close(stop)
		<-stopped
		balloon.Close()
		if err := os.Remove(path); err != nil {
			n.run.find("harness", "%v", err)
		}
		r.sober()
		n.release(r)
	}, nil
}

// inflate writes until only so much is left, or not even one byte fits.
func inflate(balloon *os.File, leftMiB int) {
	block := make([]byte, 1<<20)
	for size := len(block); size > 0; {
		var fs syscall.Statfs_t
		if err := syscall.Fstatfs(int(balloon.Fd()), &fs); err != nil ||
			fs.Bavail*uint64(fs.Bsize) < uint64(leftMiB)<<20 {
			return
		}
		if _, err := balloon.Write(block[:size]); err != nil {
			size /= 2
		}
	}
}
