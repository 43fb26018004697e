package main

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// faults are all kinds; faults_net.go and faults_disk.go have the longer ones.
var faults []*fault

func always(*run) string { return "" }

func init() {
	ms := time.Millisecond
	group := "process"
	faults = append(faults,
		&fault{"kill", group, 4, 50 * ms, 2500 * ms, always, kill(syscall.SIGKILL, 1)},
		&fault{"kill-majority", group, 2, 50 * ms, 1200 * ms, always, kill(syscall.SIGKILL, majority)},
		&fault{"kill-all", group, 1, 50 * ms, 500 * ms, always, kill(syscall.SIGKILL, everyone)},
		&fault{"restart", group, 2, 50 * ms, 1500 * ms, always, kill(syscall.SIGTERM, 1)},
		&fault{"pause", group, 4, 200 * ms, 4000 * ms, always, pause(1)},
		&fault{"pause-majority", group, 2, 300 * ms, 1500 * ms, always, pause(majority)},
		&fault{"wipe", group, 1, 1 * ms, 2 * ms, always, wipe},
		&fault{"clock", "clock", 3, 500 * ms, 4000 * ms, withoutClock, jump},
	)
	faults = append(faults, netFaults()...)
	faults = append(faults, diskFaults()...)
}

// How many replicas a fault hits, where it is no fixed number.
const (
	majority = -1
	everyone = -2
)

func (n *nemesis) howMany(count int) int {
	switch count {
	case majority:
		return n.run.o.replicas/2 + 1
	case everyone:
		return n.run.o.replicas
	}
	return count
}

type striker = func(n *nemesis, rng *rand.Rand) (what string, undo func(), err error)

// kill ends processes and starts them again after a while, not all at once.
func kill(signal syscall.Signal, count int) striker {
	return func(n *nemesis, rng *rand.Rand) (string, func(), error) {
		hit := n.seizeMany(rng, n.howMany(count))
		if hit == nil {
			return "", nil, errNotNow
		}
		if signal == syscall.SIGTERM {
			for _, r := range hit {
				r.terminate()
			}
		}
		for _, r := range hit {
			defer func(gone <-chan struct{}) { <-gone }(r.end(signal))
		}
		lag := time.Duration(rng.Int63n(int64(400 * time.Millisecond)))
		return fmt.Sprintf("%v to %s", signal, names(hit)), func() {
			for _, r := range hit {
				r.want()
				n.release(r)
				if count != 1 {
					wait(n.ctx, lag)
				}
			}
		}, nil
	}
}

func pause(count int) striker {
	return func(n *nemesis, rng *rand.Rand) (string, func(), error) {
		hit := n.seizeMany(rng, n.howMany(count))
		if hit == nil {
			return "", nil, errNotNow
		}
		for _, r := range hit {
			r.signal(syscall.SIGSTOP)
		}
		return names(hit), func() {
			for _, r := range hit {
				r.signal(syscall.SIGCONT)
			}
			n.release(hit...)
		}, nil
	}
}

func names(hit []*replica) string {
	text := "replica"
	for _, r := range hit {
		text += fmt.Sprintf(" %d", r.id)
	}
	return text
}

const (
	wipeCalm  = 6 * time.Second  // until other faults are over
	wipeReady = 20 * time.Second // until the wiped replica has caught up
)

// wipe loses a data directory. The promise is that one lost disk costs
// nothing, so it strikes when the others are well, and nothing else does until
// the replica has everything again.
func wipe(n *nemesis, rng *rand.Rand) (string, func(), error) {
	for deadline := time.Now().Add(wipeCalm); !n.idle(); {
		if time.Now().After(deadline) || !wait(n.ctx, 10*time.Millisecond) {
			return "", nil, errNotNow
		}
	}
	if _, err := n.run.watcher.awaitReady(n.ctx, wipeCalm); err != nil {
		return "", nil, errNotNow
	}
	r := n.seize(rng, nil)
	if r == nil {
		return "", nil, errNotNow
	}
	defer n.release(r)
	<-r.end(syscall.SIGKILL)
	entries, err := filepath.Glob(filepath.Join(r.dataDir(), "*"))
	for _, e := range entries {
		if err == nil {
			err = os.RemoveAll(e)
		}
	}
	if err != nil {
		n.run.find("harness", "%v", err)
	}
	r.want()
	took, err := n.run.watcher.awaitReady(n.ctx, wipeReady)
	if err != nil && n.ctx.Err() == nil {
		n.run.find("liveness", "replica %d did not come back with an empty disk: %v", r.id, err)
	}
	return fmt.Sprintf("the data of replica %d, back in %d ms", r.id, took.Milliseconds()), nil, nil
}

// --- Clocks -------------------------------------------------------------------

func faketimeLibrary() string {
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketimeMT.so.1",
		"/usr/lib/faketime/libfaketimeMT.so.1", "/usr/lib64/faketime/libfaketimeMT.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

func withoutClock(*run) string {
	if faketimeLibrary() == "" {
		return "libfaketime is not installed"
	}
	return ""
}

func setClock(path string, offset time.Duration) error {
	text := fmt.Sprintf("%+d\n", int(offset.Seconds()))
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// jump sets the wall clock of one replica wrong by up to a day, and back.
func jump(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := n.seize(rng, func(r *replica) bool { return r.clock != "" })
	if r == nil {
		return "", nil, errNotNow
	}
	// Any other fault may have it as well.
	n.release(r)
	offset := time.Duration(rng.Int63n(int64(48*time.Hour))) - 24*time.Hour
	if err := setClock(r.clock, offset); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("replica %d by %v", r.id, offset.Round(time.Second)), func() {
		if err := setClock(r.clock, 0); err != nil {
			n.run.find("harness", "%v", err)
		}
	}, nil
}
