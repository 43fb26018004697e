package main

import (
	"context"
	"errors"
	"math/rand"
	"sync"
	"time"
)

// errNotNow means that the state of the cluster does not allow a fault.
var errNotNow = errors.New("not now")

// nemesis carries the plan out.
type nemesis struct {
	run *run
	ctx context.Context

	mu     sync.Mutex
	active int
	struck map[string]int
	going  sync.WaitGroup
}

func newNemesis(r *run) *nemesis { return &nemesis{run: r, struck: map[string]int{}} }

func (n *nemesis) carryOut(ctx context.Context, blows []blow) {
	n.ctx = ctx
	began := time.Now()
	for _, b := range blows {
		if !wait(ctx, time.Until(began.Add(b.at))) {
			break
		}
		n.strike(b)
	}
	wait(ctx, time.Until(began.Add(n.run.length)))
	n.going.Wait()
}

func (n *nemesis) strike(b blow) {
	var what string
	var undo func()
	name, err := "", errNotNow
	struck := n.run.history.now()
	for _, f := range b.faults {
		name = f.name
		if what, undo, err = f.strike(n, rand.New(rand.NewSource(b.seed))); err == nil {
			break
		}
		n.run.note("%s: %v", name, err)
	}
	if err != nil {
		return
	}
	n.run.note("%s: %s, for %d ms", name, what, b.last.Milliseconds())
	n.mu.Lock()
	n.struck[name]++
	n.active++
	n.mu.Unlock()
	n.going.Add(1)
	go func() {
		defer n.going.Done()
		// What is under way ends with the run.
		wait(n.ctx, b.last)
		if undo != nil {
			undo()
			n.run.note("%s: %s, over", name, what)
		}
		n.run.disturbed(struck, n.run.history.now())
		n.mu.Lock()
		n.active--
		n.mu.Unlock()
	}()
}

func (n *nemesis) idle() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.active == 0
}

func (n *nemesis) count() int {
	total := 0
	for _, c := range n.struck {
		total += c
	}
	return total
}

// --- Whom it hits -------------------------------------------------------------

// seize takes a replica that no other fault has; the leader half of the time.
func (n *nemesis) seize(rng *rand.Rand, suits func(*replica) bool) *replica {
	order := rng.Perm(n.run.o.replicas)
	if leader := n.run.watcher.leader(); rng.Intn(2) == 0 && leader != 0 {
		order = append([]int{leader - 1}, order...)
	}
	for _, i := range order {
		r := n.run.replicas[i+1]
		if (suits == nil || suits(r)) && n.take(r) {
			return r
		}
	}
	return nil
}

// seizeMany takes count replicas, or none.
func (n *nemesis) seizeMany(rng *rand.Rand, count int) []*replica {
	var taken []*replica
	for len(taken) < count {
		r := n.seize(rng, nil)
		if r == nil {
			n.release(taken...)
			return nil
		}
		taken = append(taken, r)
	}
	return taken
}

// take fails if another fault has the replica, or if it does not run.
func (n *nemesis) take(r *replica) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy || r.cmd == nil {
		return false
	}
	r.busy = true
	return true
}

func (n *nemesis) release(all ...*replica) {
	for _, r := range all {
		r.mu.Lock()
		r.busy = false
		r.mu.Unlock()
	}
}
