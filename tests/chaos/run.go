package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

const (
	formMax   = 30 * time.Second // until a new cluster is ready
	healMax   = 20 * time.Second // until a healed one is
	equalMax  = 10 * time.Second // until all have applied the same
	lookUpMax = 20 * time.Second // for the last look at all names

	coverageSeconds = 20 // a run as long as this shows everything
)

// run is one cluster, its torture, and the verdict.
type run struct {
	o                 *options
	plant             plant
	lab               *lab
	replicas          []*replica // by id
	history           *history
	watcher           *watcher
	nemesis           *nemesis
	length            time.Duration
	snapshotThreshold int
	snapshotTrailing  int
	healed            time.Duration
	end               ending
	began             time.Time
	behind            sync.WaitGroup // what a planted bug still does
	struck            *struck        // the cut of a link scenario, or nil
	measured          string         // by a link scenario

	mu      sync.Mutex
	ending  bool // streams stay where they are
	verdict *verdict
	tallies map[string]int
	events  *os.File
}

// find notes what must not be, from any goroutine.
func (r *run) find(kind, format string, a ...interface{}) {
	r.note("FOUND %s: "+format, append([]interface{}{kind}, a...)...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict.find(kind, format, a...)
}

// note writes a line to events.log.
func (r *run) note(format string, a ...interface{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("%8.3f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, a...))
	fmt.Fprint(r.events, line)
	if r.o.verbose {
		fmt.Print("chaos: ", line)
	}
}

// disturbed notes that something happened to the cluster: leases may run longer.
func (r *run) disturbed(from, to int64) {
	r.mu.Lock()
	r.end.Unquiet = append(r.end.Unquiet, span{from, to})
	r.mu.Unlock()
}

func (r *run) tally(what string) {
	r.mu.Lock()
	r.tallies[what]++
	r.mu.Unlock()
}

// runOnce makes a cluster, tortures it and judges it. An error means that the
// run itself was not possible or was interrupted.
func runOnce(ctx context.Context, o *options) (*run, error) {
	r := &run{o: o, plant: o.plant, verdict: &verdict{}, tallies: map[string]int{},
		length: time.Duration(o.seconds) * time.Second, began: time.Now()}
	var err error
	if r.events, err = os.Create(filepath.Join(o.dir, "events.log")); err != nil {
		return nil, err
	}
	defer r.events.Close()
	kinds, err := selectFaults(o.faults)
	if err != nil {
		return nil, err
	}
	if r.lab, err = newLab(o.replicas, o.netns == "yes"); err != nil {
		return nil, err
	}
	defer r.lab.close()
	kinds = r.possible(kinds)
	if err := r.prepare(kinds); err != nil {
		return nil, err
	}
	if err := r.torture(ctx, kinds); err != nil {
		r.keep()
		return nil, err
	}
	r.conclude(kinds)
	return r, nil
}

// possible drops the faults that cannot be had here, visibly.
func (r *run) possible(kinds []*fault) []*fault {
	var can []*fault
	skipped := map[string][]string{}
	for _, f := range kinds {
		if why := f.possible(r); why != "" {
			skipped[why] = append(skipped[why], f.name)
		} else {
			can = append(can, f)
		}
	}
	for why, names := range skipped {
		fmt.Printf("chaos: SKIPPED %s: %s\n", strings.Join(names, " "), why)
	}
	return can
}

// prepare decides by the seed what kind of cluster it is.
func (r *run) prepare(kinds []*fault) error {
	rng := rand.New(rand.NewSource(r.o.seed))
	thresholds := []int{32, 100, 400, 2000}
	r.snapshotThreshold = thresholds[rng.Intn(len(thresholds))]
	r.snapshotTrailing = 1 + rng.Intn(r.snapshotThreshold)
	has := map[string]bool{}
	for _, f := range kinds {
		has[f.name] = true
	}
	r.replicas = make([]*replica, r.o.replicas+1)
	full, wrong := 1+rng.Intn(r.o.replicas), 1+rng.Intn(r.o.replicas) // one at least has each
	for id := 1; id <= r.o.replicas; id++ {
		p := &replica{run: r, id: id, folder: filepath.Join(r.o.dir, fmt.Sprintf("replica-%d", id)),
			broke: map[int]bool{}, stopped: make(chan struct{})}
		p.mounted = has["disk-full"] && (id == full || rng.Intn(2) == 0)
		if has["clock"] && (id == wrong || rng.Intn(2) == 0) {
			p.clock = p.folder + ".clock"
		}
		if err := p.prepare(); err != nil {
			return err
		}
		r.replicas[id] = p
	}
	if r.lab.net != nil {
		r.lab.net.seed(r.o.seed)
	}
	return nil
}

// torture runs the cluster from its first start until it is stopped.
func (r *run) torture(ctx context.Context, kinds []*fault) error {
	r.history = newHistory()
	r.watcher = newWatcher(r)
	r.nemesis = newNemesis(r)
	done := make(chan struct{})
	watching, stopWatching := context.WithCancel(ctx)
	for _, p := range r.replicas[1:] {
		p.want()
		go p.supervise(done)
		go r.watcher.watch(watching, p.id)
	}
	err := r.phases(ctx, kinds)
	stopWatching()
	close(done)
	for _, p := range r.replicas[1:] {
		<-p.stopped
		p.terminate()
	}
	return err
}

func (r *run) phases(ctx context.Context, kinds []*fault) error {
	took, err := r.watcher.awaitReady(ctx, formMax)
	if err != nil {
		return fmt.Errorf("no cluster formed %v", err)
	}
	r.note("a cluster of %d formed in %d ms", r.o.replicas, took.Milliseconds())
	r.disturbed(0, r.history.now())
	var following sync.WaitGroup
	streaming, stop := context.WithCancel(ctx)
	r.end.Streams = r.newStreams()
	for _, s := range r.end.Streams {
		following.Add(1)
		go func(s *stream) {
			defer following.Done()
			s.follow(streaming, r)
		}(s)
	}
	r.load(ctx, kinds)
	err = r.lookBack(ctx)
	stop()
	following.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.find("liveness", "%v", err)
	}
	return nil
}

// lookBack asks for all that is left when everything is healed.
func (r *run) lookBack(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.behind.Wait()
	if err := r.awaitStreams(ctx, r.end.Streams); err != nil {
		return err
	}
	if err := r.lookUpAll(ctx); err != nil {
		return err
	}
	var err error
	r.end.Revision, err = r.watcher.awaitEqual(ctx, equalMax)
	return err
}

// load lets clients work while faults strike, and some more after healing.
func (r *run) load(ctx context.Context, kinds []*fault) {
	working, rest := context.WithCancel(ctx)
	defer rest()
	var busy, nodes sync.WaitGroup
	dying := make(chan struct{})
	begin := func(group *sync.WaitGroup, work func()) {
		group.Add(1)
		go func() {
			defer group.Done()
			work()
		}()
	}
	for _, w := range r.newWorkers(working) {
		w := w
		begin(&busy, func() { w.work(working) })
	}
	for i := 0; i < claimants; i++ {
		w := r.newWorker(working, claimClient+i, 0)
		begin(&busy, func() { w.compete(working) })
	}
	for i := 0; i < nodesAtOnce; i++ {
		n := &nodeWorker{worker: r.newWorker(working, nodeClient+i, 0)}
		begin(&nodes, func() { n.live(working, dying) })
	}
	torture, stop := context.WithTimeout(ctx, r.length)
	if r.o.scenario != nil {
		r.strikeLink(torture)
	} else {
		r.nemesis.carryOut(torture, plan(r.o.seed, r.length, kinds))
	}
	stop()
	r.note("healed")
	var err error
	if r.healed, err = r.watcher.awaitReady(ctx, healMax); err != nil && ctx.Err() == nil {
		r.find("liveness", "not ready again with all faults gone: %v", err)
	}
	r.note("ready again after %d ms", r.healed.Milliseconds())
	close(dying)
	// In a calm cluster all leases end in time, and what is asked after that tells.
	calm := time.Now().Add(time.Duration(leaseTTLMs+leaseTTLSpan)*time.Millisecond + leaseSlack)
	nodes.Wait()
	wait(ctx, time.Until(calm))
	rest()
	busy.Wait()
}

// conclude gathers the whole verdict.
func (r *run) conclude(kinds []*fault) {
	for _, p := range r.replicas[1:] {
		p.inspect()
	}
	min := faultsPerMinuteMin * r.o.seconds / 60
	if len(kinds) > 0 && r.nemesis.count() < min {
		r.find("harness", "only %d faults struck, at least %d should have", r.nemesis.count(), min)
	}
	answered := map[int]int{}
	for _, o := range r.history.ops {
		if o.Outcome == decided {
			answered[o.By]++
		}
	}
	for id := 1; id <= r.o.replicas; id++ {
		if answered[id] < 10*r.o.seconds && (r.struck == nil || r.struck.victim != id) {
			r.find("harness", "replica %d answered only %d operations", id, answered[id])
		}
	}
	if r.struck != nil && r.struck.end > 0 {
		r.o.scenario.judge(r, r.struck)
	}
	r.judgeCoverage()
	v := judge(r.history.ops, r.end, r.o.dir)
	r.mu.Lock()
	r.verdict.findings = append(r.verdict.findings, v.findings...)
	for kind, n := range v.counts {
		if r.verdict.counts == nil {
			r.verdict.counts = map[string]int{}
		}
		r.verdict.counts[kind] += n
	}
	failed := len(r.verdict.findings) > 0
	r.mu.Unlock()
	if failed {
		r.keep()
	}
}

// keep saves what explains a failure.
func (r *run) keep() {
	for _, p := range r.replicas[1:] {
		p.keep()
	}
	path := filepath.Join(r.o.dir, "history.jsonl")
	if err := saveHistory(path, r.history.ops, r.end); err != nil {
		fmt.Printf("chaos: %v\n", err)
	}
}

// features counts what the run had of each kind that is judged in its own way.
func (r *run) features() map[string]int {
	n := map[string]int{"leases_judged": judgedLeases(r.history.ops, inOrder(r.end.Unquiet))}
	for _, o := range r.history.ops {
		switch {
		case o.Kind == opBatch && o.changed():
			n["batches"]++
		case o.Kind == opBatch && o.Code == batchRefused:
			n["batches_refused"]++
		case o.Claim != "":
			n["claims"]++
		case o.Kind == opList && o.succeeded():
			n["lists"]++
		case o.Kind == opBeat && o.succeeded():
			n["heartbeats"]++
		}
		if o.Tries > 1 && o.Outcome == decided {
			n["keys_resolved"]++
		}
		n["replays"] += len(o.Replays)
	}
	for _, s := range r.end.Streams {
		n["events"] += len(s.Events)
	}
	return n
}

// judgeCoverage: a run of some length that did not see all that it judges says
// nothing.
func (r *run) judgeCoverage() {
	n := r.features()
	for _, what := range []string{"leases_judged", "batches", "batches_refused", "claims", "lists",
		"heartbeats", "replays", "events"} {
		if n[what] == 0 && r.o.seconds >= coverageSeconds {
			r.find("harness", "no %s in this run", what)
		}
	}
}

func (r *run) found(kind string) bool { return r.verdict.counts[kind] > 0 }

// summary is one line of figures.
func (r *run) summary() string {
	outcomes := map[outcome]int{}
	for _, o := range r.history.ops {
		outcomes[o.Outcome]++
	}
	struck := r.nemesis.struck
	kinds := make([]string, 0, len(struck))
	for name, n := range struck {
		kinds = append(kinds, fmt.Sprintf("%s %d", name, n))
	}
	sort.Strings(kinds)
	text := fmt.Sprintf("seed=%d replicas=%d netns=%s seconds=%d ops=%d decided=%d refused=%d "+
		"unknown=%d revision=%d leader_terms=%d digests_compared=%d ready_after_ms=%d faults=%d",
		r.o.seed, r.o.replicas, r.o.netns, r.o.seconds, len(r.history.ops), outcomes[decided],
		outcomes[refused], outcomes[unknown], r.end.Revision, r.watcher.leaderTerms(),
		r.watcher.met, r.healed.Milliseconds(), r.nemesis.count())
	if len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	features := r.features()
	for _, what := range []string{"batches", "claims", "keys_resolved", "replays", "leases_judged",
		"events"} {
		text += fmt.Sprintf(" %s=%d", what, features[what])
	}
	if n := r.tallies["stopped by its disk"]; n > 0 {
		text += fmt.Sprintf(" stopped_by_disk=%d", n)
	}
	if r.lab.net != nil {
		s := r.lab.net.snapshot()
		text += fmt.Sprintf(" frames=%d dropped=%d delayed=%d spoilt=%d doubled=%d reset=%d", s.Passed,
			s.Dropped, s.Delayed, s.Spoiled, s.Doubled, s.Reset)
	}
	return text
}

func (r *run) report(o *options) int {
	fmt.Printf("chaos: %s\n", r.summary())
	if len(r.verdict.findings) == 0 {
		fmt.Println("chaos: PASS")
		return exitPass
	}
	r.verdict.print()
	fmt.Printf("chaos: FAIL: seed %d; history, pictures, logs and data are in %s\n", o.seed, o.dir)
	return exitFail
}
