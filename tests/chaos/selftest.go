package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// plant is a bug that this program makes between clients and replicas, so that
// the history is the one that a replica with that bug would have given. Several
// are joined by a plus sign.
type plant string

const (
	noPlant          plant = ""
	staleReads       plant = "stale-reads"        // linearizable reads and lists are answered stale
	unknownAsRefused plant = "unknown-as-refused" // 504 becomes 503
	appliedTwice     plant = "applied-twice"      // an acknowledged put is applied once more, later
	keysForgotten    plant = "keys-forgotten"     // a repeated write is applied again
	halfBatches      plant = "half-batches"       // a part of a refused batch is applied
	secondSpawner    plant = "second-spawner"     // who should wait for a claim gets one
	earlyExpiry      plant = "early-expiry"       // heartbeats are acknowledged and forgotten
	lateExpiry       plant = "late-expiry"        // a lease goes on without heartbeats
	lostEvents       plant = "lost-events"        // a stream leaves something out
)

// plants are all of them, and the kinds of findings that each has to lead to.
var plants = map[plant][]string{
	staleReads: {"linearizability"}, unknownAsRefused: {"linearizability"},
	appliedTwice: {"linearizability"}, keysForgotten: {"key", "twice"},
	halfBatches: {"refused"}, secondSpawner: {"claim"}, earlyExpiry: {"lease"},
	lateExpiry: {"lease"}, lostEvents: {"watch"},
}

const (
	plantTriesMax = 12
	twiceDelayMax = 40 * time.Millisecond
	lostEventRate = 400 // one in so many
	madeUpTicket  = 1 << 40
)

func (p plant) all() []plant {
	var all []plant
	for _, name := range strings.Split(string(p), "+") {
		if name != "" {
			all = append(all, plant(name))
		}
	}
	return all
}

func (p plant) has(one plant) bool {
	for _, q := range p.all() {
		if q == one {
			return true
		}
	}
	return false
}

func (p plant) known() bool {
	for _, q := range p.all() {
		if plants[q] == nil {
			return false
		}
	}
	return true
}

func plantNames() string {
	var names []string
	for p := range plants {
		names = append(names, string(p))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// request is what is really sent for an operation.
func (p plant) request(o *op) *request {
	twisted := *o
	twisted.stale = p.has(staleReads) && (o.Kind == opGet || o.Kind == opList)
	if p.has(keysForgotten) {
		twisted.Key = ""
	}
	return twisted.request()
}

// swallow answers an operation that is not sent at all.
func (p plant) swallow(o *op) bool {
	if !p.has(earlyExpiry) || o.Kind != opBeat {
		return false
	}
	o.heard = heard{Outcome: decided, Status: 200}
	return true
}

// heard twists what the client is told.
func (p plant) heard(r *run, o *op) {
	switch {
	case p.has(unknownAsRefused) && o.Status == 504:
		o.Outcome = refused
	case p.has(appliedTwice) && o.Kind == opPut && o.changed():
		r.later(o.Replica, o.request())
	case p.has(halfBatches) && o.Code == batchRefused:
		for _, it := range o.Items[:o.RefusedAt] {
			if it.Kind == opPut {
				part := &op{Kind: opPut, Env: o.Env, Name: it.Name, New: it.New}
				r.later(o.Replica, part.request())
				return
			}
		}
	case p.has(secondSpawner) && o.Kind == opClaim && o.Status == 409:
		o.Status, o.Code = 201, ""
		o.Claim = fmt.Sprintf("%d-0000000000000000", madeUpTicket+nextProcess())
	}
}

// later sends something of which nobody hears whether it worked.
func (r *run) later(replica int, what *request) {
	delay := time.Duration(rand.Int63n(int64(twiceDelayMax)))
	r.behind.Add(1)
	time.AfterFunc(delay, func() {
		defer r.behind.Done()
		l := &link{address: r.lab.httpAddress(replica), timeout: clientTimeout}
		l.do(what)
		l.close()
	})
}

// haunt sends heartbeats for a node that has stopped.
func (p plant) haunt(r *run, beat *op) {
	if !p.has(lateExpiry) {
		return
	}
	for after := ghostBeatsEvery; after < ghostBeatsLast; after += ghostBeatsEvery {
		r.behind.Add(1)
		time.AfterFunc(after, func() {
			defer r.behind.Done()
			l := &link{address: r.lab.httpAddress(beat.Replica), timeout: clientTimeout}
			l.do(beat.request())
			l.close()
		})
	}
}

// loses tells whether an event of a stream is left out.
func (p plant) loses(e *event) bool {
	return p.has(lostEvents) && e.Type == eventPut && rand.Intn(lostEventRate) == 0
}

// sowing is a run with planted bugs.
type sowing struct {
	plant   plant
	faults  string
	seconds int // long enough that nearly every seed shows it
}

// selfTest plants each bug and demands that the judge finds it within a few
// seeds. Without a plant the same runs must pass.
func selfTest(ctx context.Context, o *options) int {
	sowings := []sowing{
		{noPlant, "pause,pause-majority", 4},
		{staleReads, "pause", 4},
		// A paused majority lets writes time out that are applied when it wakes.
		{unknownAsRefused, "pause-majority", 12},
		{appliedTwice, "none", 4},
		{keysForgotten + "+" + secondSpawner + "+" + earlyExpiry, "none", 4},
		{halfBatches + "+" + lateExpiry + "+" + lostEvents, "none", 4},
	}
	status := exitPass
	for i, s := range sowings {
		ok, err := trySowing(ctx, o, i, s)
		if err != nil {
			fmt.Printf("chaos: FAIL: self-test: %v; logs are in %s\n", err, o.dir)
			return exitFail
		}
		if !ok {
			status = exitFail
		}
	}
	if status == exitPass {
		fmt.Println("chaos: PASS: every planted bug was found")
	}
	return status
}

func trySowing(ctx context.Context, o *options, number int, s sowing) (bool, error) {
	for try := 0; try < plantTriesMax; try++ {
		mine := *o
		mine.plant, mine.faults, mine.seconds = s.plant, s.faults, s.seconds
		mine.seed = o.seed + int64(try)
		mine.dir = filepath.Join(o.dir, fmt.Sprintf("self-test-%d-%d", number, try))
		if err := os.MkdirAll(mine.dir, 0o755); err != nil {
			return false, err
		}
		r, err := runOnce(ctx, &mine)
		if err != nil {
			return false, err
		}
		if s.plant == noPlant {
			fmt.Printf("chaos: nothing planted: %s\n", r.summary())
			r.verdict.print()
			return len(r.verdict.findings) == 0, nil
		}
		if missed := r.missed(); len(missed) == 0 {
			fmt.Printf("chaos: planted %s: found with seed %d: %s\n", s.plant, mine.seed,
				r.verdict.counted())
			return true, nil
		}
		fmt.Printf("chaos: planted %s: not found with seed %d (%s)\n", s.plant, mine.seed,
			r.verdict.counted())
	}
	fmt.Printf("chaos: FAIL: planted %s was not found\n", s.plant)
	return false, nil
}

// missed are the kinds of findings that the planted bugs should have led to.
func (r *run) missed() []string {
	var kinds []string
	for _, p := range r.plant.all() {
		for _, kind := range plants[p] {
			if !r.found(kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}

// counted is what was found, in figures.
func (v *verdict) counted() string {
	var texts []string
	for kind, n := range v.counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, kind))
	}
	sort.Strings(texts)
	if len(texts) == 0 {
		return "nothing"
	}
	return strings.Join(texts, ", ")
}
