package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync/atomic"
	"time"
)

const (
	namesAtOnce        = 4
	clientsPerReplica  = 2
	clientsRoaming     = 2
	clientTimeout      = 1000 * time.Millisecond
	impatientTimeout   = 120 * time.Millisecond
	serverTimeoutMs    = 700
	thinkMax           = 14 * time.Millisecond
	refusedPauseMax    = 60 * time.Millisecond
	generationDuration = 3 * time.Second
)

// worker is one client: it asks, waits for the answer, thinks, asks again.
type worker struct {
	run     *run
	id      int
	home    int // the replica it always asks; 0: any
	timeout time.Duration
	rng     *rand.Rand
	links   map[int]*link
	seen    map[string]holder // last known holder of a name
	reached uint64            // highest revision seen
}

// Every registration is of another process, so that a look-up tells which one
// it saw.
var lastProcess uint64

func (r *run) newWorkers() []*worker {
	var all []*worker
	count := r.o.replicas*clientsPerReplica + clientsRoaming
	for i := 0; i < count; i++ {
		w := &worker{run: r, id: i + 1, timeout: clientTimeout, links: map[int]*link{},
			seen: map[string]holder{},
			rng:  rand.New(rand.NewSource(r.o.seed*1000 + int64(i)))}
		if i < r.o.replicas*clientsPerReplica {
			w.home = 1 + i%r.o.replicas
		} else if i == count-1 {
			w.timeout = impatientTimeout
		}
		all = append(all, w)
	}
	return all
}

func nameOf(generation, i int) (env uint64, name string) {
	return uint64(1 + i%2), fmt.Sprintf("chaos::Worker/%d/ProcessRef<%c, ü>/..", generation, 'a'+i)
}

// choose makes the next operation. Names change every few seconds: a history
// of thousands of operations on one name is slow to judge.
func (w *worker) choose() *op {
	o := &op{Client: w.id, Replica: w.home}
	if w.home == 0 {
		o.Replica = 1 + w.rng.Intn(w.run.o.replicas)
	}
	generation := int(time.Since(w.run.history.began) / generationDuration)
	o.Env, o.Name = nameOf(generation, w.rng.Intn(namesAtOnce))
	known, ok := w.seen[o.key()]
	kinds := []kind{opGet, opGet, opGet, opGet, opGet, opGet, opGet, opStale, opStale, opAtLeast,
		opPut, opPut, opPut, opPutAbsent, opPutAbsent, opPutAbsent, opRemove}
	if ok {
		kinds = append(kinds, opPutMatch, opPutMatch, opRemoveOwner, opRemoveOwner, opRemoveMatch)
	}
	o.Kind = kinds[w.rng.Intn(len(kinds))]
	switch {
	case o.put():
		o.New = holder{Node: uint64(w.id), Process: atomic.AddUint64(&lastProcess, 1)}
	case o.Kind == opAtLeast:
		o.AtLeast = w.reached
	}
	switch o.Kind {
	case opPutMatch, opRemoveMatch:
		o.Expect = known
	case opRemoveOwner:
		o.Expect = holder{Node: known.Node, Process: known.Process}
	}
	return o
}

// ask carries an operation out and puts it into the history.
func (w *worker) ask(o *op) {
	l := w.links[o.Replica]
	if l == nil {
		l = &link{address: w.run.lab.httpAddress(o.Replica), timeout: w.timeout}
		w.links[o.Replica] = l
	}
	request := w.run.plant.request(o)
	o.Life = w.run.replicas[o.Replica].currentLife()
	o.Call = w.run.history.now()
	a, err := l.do(request)
	o.Return = w.run.history.now()
	switch {
	case errors.Is(err, errNotSent):
		o.Outcome, o.Why = refused, err.Error()
	case err != nil:
		o.Outcome, o.Why = unknown, err.Error()
	default:
		if err := o.understand(a); err != nil {
			o.Outcome, o.Why = unknown, err.Error()
			w.run.find("answer", "%v: %v: %s", o, err, a.body)
		}
	}
	if w.run.replicas[o.Replica].currentLife() != o.Life {
		o.Life = 0 // not known which process answered
	}
	w.run.plant.heard(w.run, o)
	w.run.history.add(o)
	w.learn(o)
}

func (w *worker) learn(o *op) {
	if o.Outcome != decided {
		return
	}
	if o.Revision > w.reached {
		w.reached = o.Revision
	}
	if o.Found && !(o.changed() && !o.put()) {
		w.seen[o.key()] = o.Entry
	}
}

func (w *worker) work(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		o := w.choose()
		w.ask(o)
		pause := time.Duration(w.rng.Int63n(int64(thinkMax)))
		if o.Outcome == refused {
			pause += time.Duration(w.rng.Int63n(int64(refusedPauseMax)))
		}
		wait(ctx, pause)
	}
}

func (w *worker) close() {
	for _, l := range w.links {
		l.close()
	}
}

// wait sleeps, or returns false at once when the context ends.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lookUpAll asks every replica for every name that was ever used, so that what
// was acknowledged and lost shows. A healed cluster has no excuse.
func (r *run) lookUpAll(ctx context.Context) error {
	type entry struct {
		env  uint64
		name string
	}
	names := map[entry]bool{}
	for _, o := range r.history.ops {
		names[entry{o.Env, o.Name}] = true
	}
	for id := 1; id <= r.o.replicas; id++ {
		w := &worker{run: r, id: 100 + id, home: id, timeout: clientTimeout,
			links: map[int]*link{}, seen: map[string]holder{}}
		deadline := time.Now().Add(lookUpMax)
		for n := range names {
			for {
				o := &op{Client: w.id, Kind: opGet, Env: n.env, Name: n.name, Replica: id}
				w.ask(o)
				if o.Outcome == decided {
					break
				}
				if time.Now().After(deadline) || !wait(ctx, 20*time.Millisecond) {
					w.close()
					return fmt.Errorf("after healing: %v (%s)", o, o.Why)
				}
			}
		}
		w.close()
	}
	return nil
}
