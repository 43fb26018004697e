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
	r.load(ctx, kinds)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := r.lookUpAll(ctx); err != nil {
		r.find("liveness", "%v", err)
	}
	r.behind.Wait()
	r.end.Revision, err = r.watcher.awaitEqual(ctx, equalMax)
	if err != nil {
		r.find("liveness", "%v", err)
	}
	return ctx.Err()
}

// load lets clients work while faults strike, and some more after healing.
func (r *run) load(ctx context.Context, kinds []*fault) {
	working, rest := context.WithCancel(ctx)
	defer rest()
	var busy sync.WaitGroup
	for _, w := range r.newWorkers() {
		busy.Add(1)
		go func(w *worker) {
			defer busy.Done()
			w.work(working)
		}(w)
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
			answered[o.Replica]++
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
