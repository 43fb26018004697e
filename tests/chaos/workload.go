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

	triesMax     = 6 // of an operation with a key
	triesPause   = 80 * time.Millisecond
	groupPercent = 12 // of the operations are about a group of names
	keyPercent   = 40 // of the writes have a key
	againPercent = 12 // of those are repeated when they have been answered
	otherPercent = 4  // or their key is used for another request

	batchItemsMax = 128

	// Clients by their numbers: workers begin at 1.
	claimClient  = 50
	nodeClient   = 70
	endClient    = 90
	lookUpClient = 100
)

// worker is one client: it asks, waits for the answer, thinks, asks again.
type worker struct {
	run     *run
	ctx     context.Context // ends what is asked again and again
	id      int
	home    int // the replica it always asks; 0: any
	timeout time.Duration
	rng     *rand.Rand
	links   map[int]*link
	seen    map[string]holder // last known holder of a name
	reached uint64            // highest revision seen
	keys    int
	used    [3]string // by environment, the last key that has an outcome
}

// Every registration is of another process, so that a look-up tells which one
// it saw.
var lastProcess uint64

func nextProcess() uint64 { return atomic.AddUint64(&lastProcess, 1) }

func (r *run) newWorker(ctx context.Context, id, home int) *worker {
	return &worker{run: r, ctx: ctx, id: id, home: home, timeout: clientTimeout,
		links: map[int]*link{}, seen: map[string]holder{},
		rng: rand.New(rand.NewSource(r.o.seed*1000 + int64(id)))}
}

func (r *run) newWorkers(ctx context.Context) []*worker {
	var all []*worker
	count := r.o.replicas*clientsPerReplica + clientsRoaming
	for i := 0; i < count; i++ {
		w := r.newWorker(ctx, i+1, 0)
		if i < r.o.replicas*clientsPerReplica {
			w.home = 1 + i%r.o.replicas
		} else if i == count-1 {
			w.timeout = impatientTimeout
		}
		all = append(all, w)
	}
	return all
}

// generation counts: names change every few seconds, as a history of thousands
// of operations on one name is slow to judge.
func (r *run) generation() int { return int(time.Since(r.history.began) / generationDuration) }

func nameOf(generation, i int) (env uint64, name string) {
	return uint64(1 + i%2), fmt.Sprintf("chaos::Worker/%d/ProcessRef<%c, ü>/..", generation, 'a'+i)
}

func (w *worker) anyReplica() int { return 1 + w.rng.Intn(w.run.o.replicas) }

func (w *worker) percent(n int) bool { return w.rng.Intn(100) < n }

// choose makes the next operation.
func (w *worker) choose() *op {
	o := &op{Client: w.id, Replica: w.home}
	if w.home == 0 {
		o.Replica = w.anyReplica()
	}
	generation := w.run.generation()
	if w.percent(groupPercent) {
		w.chooseOfGroup(o, generation)
	} else {
		o.Env, o.Name = nameOf(generation, w.rng.Intn(namesAtOnce))
		w.chooseKind(o, []kind{opGet, opGet, opGet, opGet, opGet, opGet, opGet, opStale, opStale,
			opAtLeast, opPut, opPut, opPut, opPutAbsent, opPutAbsent, opPutAbsent, opRemove})
	}
	if o.write() && w.percent(keyPercent) {
		w.chooseKey(o)
	}
	return o
}

// chooseKey gives a write a key, mostly one of its own. What registers a process
// is surely another request than any before.
func (w *worker) chooseKey(o *op) {
	if used := w.used[o.Env]; used != "" && len(o.wishes()) > 0 && w.percent(otherPercent) {
		o.Key, o.Mismatch = used, true
		return
	}
	w.ownKey(o)
}

func (w *worker) ownKey(o *op) {
	w.keys++
	o.Key = fmt.Sprintf("client-%d/%d", w.id, w.keys)
}

// chooseKind chooses among the kinds, and those that need to know an entry if
// one is known.
func (w *worker) chooseKind(o *op, kinds []kind) {
	known, ok := w.seen[o.key()]
	if ok {
		kinds = append(kinds, opPutMatch, opPutMatch, opRemoveOwner, opRemoveOwner, opRemoveMatch)
	}
	o.Kind = kinds[w.rng.Intn(len(kinds))]
	switch {
	case o.put():
		o.New = holder{Node: uint64(w.id), Process: nextProcess()}
	case o.Kind == opAtLeast:
		o.AtLeast = w.reached
	}
	switch o.Kind {
	case opPutMatch, opRemoveMatch:
		o.Expect = known
	case opRemoveOwner:
		o.Expect = holder{Node: known.Node, Process: known.Process}
	}
}

// A group is some names that batches and lists are about, one at a time.
func groupOf(generation int) (env uint64, prefix string) {
	return uint64(1 + generation%2), fmt.Sprintf("chaos::Group/%d/<ü>,", generation)
}

func groupNames(prefix string) []string {
	var names []string
	for i := 0; i < namesMax; i++ {
		names = append(names, fmt.Sprintf("%s%c", prefix, 'a'+i))
	}
	return names
}

func (w *worker) chooseOfGroup(o *op, generation int) {
	var prefix string
	o.Env, prefix = groupOf(generation)
	o.Room = "group/" + prefix
	names := groupNames(prefix)
	switch dice := w.rng.Intn(10); {
	case dice < 4:
		o.Kind = opBatch
		o.Items = w.chooseItems(o.Env, names)
	case dice < 7:
		o.list(prefix, names)
		o.Limit = 1 + w.rng.Intn(namesMax+1)
	default:
		o.Name = names[w.rng.Intn(len(names))]
		w.chooseKind(o, []kind{opGet, opGet, opPut, opPutAbsent, opRemove})
	}
}

// list makes it one of all the names, which have the prefix in common.
func (o *op) list(prefix string, names []string) {
	o.Kind, o.Name, o.Limit = opList, prefix, 1000
	for _, name := range names {
		o.Items = append(o.Items, item{Kind: opGet, Name: name})
	}
}

func (w *worker) chooseItems(env uint64, names []string) []item {
	count := 1 + w.rng.Intn(namesMax)
	switch dice := w.rng.Intn(10); {
	case dice == 0:
		count = 1 + w.rng.Intn(batchItemsMax)
	case dice < 4:
		count = 1 + w.rng.Intn(16)
	}
	// Long ones with many conditions would always be refused.
	guarded := 60 / (1 + count/2)
	var items []item
	for i := 0; i < count; i++ {
		it := item{Name: names[w.rng.Intn(len(names))], Kind: []kind{opGet, opPut, opPut,
			opRemove}[w.rng.Intn(4)]}
		if it.Kind == opPut {
			it.New = holder{Node: uint64(w.id), Process: nextProcess()}
		}
		if w.percent(guarded) {
			w.chooseGuard(env, &it)
		}
		items = append(items, it)
	}
	return items
}

func (w *worker) chooseGuard(env uint64, it *item) {
	known, ok := w.seen[keyOf(env, it.Name)]
	switch {
	case it.Kind != opRemove && (!ok || w.rng.Intn(3) == 0):
		it.Guard = ifAbsent
	case !ok:
	case it.Kind != opPut && w.rng.Intn(2) == 0:
		it.Guard, it.Expect = ifOwner, known
	default:
		it.Guard, it.Expect = ifRevision, known
	}
}

// ask carries an operation out and puts it into the history. One with a key is
// repeated through other replicas until its outcome is known.
func (w *worker) ask(o *op) {
	lost, why := false, ""
	o.Call = w.run.history.now()
	for replica := o.Replica; ; replica = w.anyReplica() {
		o.Tries++
		w.try(o, replica)
		if o.Outcome == unknown {
			lost, why = true, o.Why
		}
		if o.Outcome == decided || !lost || o.Key == "" || o.Mismatch || o.Tries == triesMax ||
			!wait(w.ctx, time.Duration(w.rng.Int63n(int64(triesPause)))) {
			break
		}
	}
	if o.Outcome == refused && lost {
		o.heard = heard{Outcome: unknown, Why: why}
	}
	o.Return = w.run.history.now()
	w.again(o)
	w.run.history.add(o)
	w.learn(o)
}

// again repeats what has been answered: the answer has to be the same.
func (w *worker) again(o *op) {
	if o.Key == "" || o.Mismatch || o.Outcome != decided || o.Kind == opClaim {
		return
	}
	if o.Env > 0 && int(o.Env) < len(w.used) {
		w.used[o.Env] = o.Key
	}
	if w.percent(againPercent) {
		same := *o
		if w.try(&same, w.anyReplica()); same.Outcome == decided {
			o.Replays = append(o.Replays, same.heard)
		}
	}
}

// try sends it once.
func (w *worker) try(o *op, replica int) {
	o.heard, o.By = heard{}, replica
	if w.run.plant.swallow(o) {
		return
	}
	l := w.links[replica]
	if l == nil {
		l = &link{address: w.run.lab.httpAddress(replica)}
		w.links[replica] = l
	}
	l.timeout = w.timeout + time.Duration(o.Wait)*time.Second
	o.Life = w.run.replicas[replica].currentLife()
	a, err := l.do(w.run.plant.request(o))
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
	if w.run.replicas[replica].currentLife() != o.Life {
		o.Life = 0 // not known which process answered
	}
	w.run.plant.heard(w.run, o)
}

func (w *worker) learn(o *op) {
	if o.Outcome != decided {
		return
	}
	if o.Revision > w.reached {
		w.reached = o.Revision
	}
	for _, s := range o.sights() {
		if s.found {
			w.seen[s.key] = s.entry
		}
	}
	if o.put() && o.changed() {
		w.seen[o.key()] = o.Entry
	}
}

func (w *worker) work(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		o := w.choose()
		w.ask(o)
		for o.Outcome == decided && o.Next != "" {
			o = o.nextPage()
			w.ask(o)
		}
		pause := time.Duration(w.rng.Int63n(int64(thinkMax)))
		if o.Outcome == refused {
			pause += time.Duration(w.rng.Int63n(int64(refusedPauseMax)))
		}
		wait(ctx, pause)
	}
}

// nextPage is the list that goes on where this one ended.
func (o *op) nextPage() *op {
	return &op{Client: o.Client, Replica: o.Replica, Kind: opList, Env: o.Env, Name: o.Name,
		Room: o.Room, Items: o.Items[len(o.Results):], After: o.Next, Limit: o.Limit}
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

// insist asks until the operation is decided. A healed cluster has no excuse.
func (w *worker) insist(o op, deadline time.Time) (*op, error) {
	for {
		try := o
		w.ask(&try)
		if try.Outcome == decided {
			return &try, nil
		}
		if time.Now().After(deadline) || !wait(w.ctx, 20*time.Millisecond) {
			return nil, fmt.Errorf("after healing: %v (%s)", &try, try.Why)
		}
	}
}

// lookUpAll asks every replica for every name that was ever used, so that what
// was acknowledged and lost shows.
func (r *run) lookUpAll(ctx context.Context) error {
	names := map[string]op{}
	for _, o := range r.history.ops {
		if len(o.Items) == 0 && o.Name != "" {
			names[o.key()] = op{Kind: opGet, Env: o.Env, Name: o.Name, Room: o.Room}
		}
		for _, it := range o.Items {
			names[keyOf(o.Env, it.Name)] = op{Kind: opGet, Env: o.Env, Name: it.Name, Room: o.Room}
		}
	}
	for id := 1; id <= r.o.replicas; id++ {
		w := r.newWorker(ctx, lookUpClient+id, id)
		deadline := time.Now().Add(lookUpMax)
		for _, o := range names {
			o.Client, o.Replica = w.id, id
			if _, err := w.insist(o, deadline); err != nil {
				w.close()
				return err
			}
		}
		w.close()
	}
	return nil
}
