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
// the history is the one that a replica with that bug would have given.
type plant string

const (
	noPlant          plant = ""
	staleReads       plant = "stale-reads"        // linearizable reads are answered stale
	unknownAsRefused plant = "unknown-as-refused" // 504 becomes 503
	appliedTwice     plant = "applied-twice"      // an acknowledged put is applied once more, later
)

const (
	plantTriesMax = 12
	twiceDelayMax = 40 * time.Millisecond
)

func (p plant) known() bool {
	return p == noPlant || p == staleReads || p == unknownAsRefused || p == appliedTwice
}

// request is what is really sent for an operation.
func (p plant) request(o *op) *request {
	if p == staleReads && o.Kind == opGet {
		twisted := *o
		twisted.Kind = opStale
		return twisted.request()
	}
	return o.request()
}

// heard twists what the client is told.
func (p plant) heard(r *run, o *op) {
	switch {
	case p == unknownAsRefused && o.Status == 504:
		o.Outcome = refused
	case p == appliedTwice && o.Kind == opPut && o.changed():
		again := o.request()
		delay := time.Duration(rand.Int63n(int64(twiceDelayMax)))
		r.behind.Add(1)
		time.AfterFunc(delay, func() {
			defer r.behind.Done()
			l := &link{address: r.lab.httpAddress(o.Replica), timeout: clientTimeout}
			l.do(again) // whether it works or not, nobody hears of it
			l.close()
		})
	}
}

// selfTest plants each bug and demands that the judge finds the history to be
// not linearizable within a few seeds. Without a plant the same runs must pass.
func selfTest(ctx context.Context, o *options) int {
	plants := []struct {
		plant   plant
		faults  string
		seconds int // long enough that nearly every seed shows it
	}{
		{noPlant, "pause,pause-majority", 4},
		{staleReads, "pause", 4},
		// A paused majority lets writes time out that are applied when it wakes.
		{unknownAsRefused, "pause-majority", 12},
		{appliedTwice, "none", 4},
	}
	status := exitPass
	for i, p := range plants {
		ok, err := tryPlant(ctx, o, i, p.plant, p.faults, p.seconds)
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

func tryPlant(ctx context.Context, o *options, number int, p plant, faults string,
	seconds int) (bool, error) {
	for try := 0; try < plantTriesMax; try++ {
		mine := *o
		mine.plant, mine.faults, mine.seconds = p, faults, seconds
		mine.seed = o.seed + int64(try)
		mine.dir = filepath.Join(o.dir, fmt.Sprintf("self-test-%d-%d", number, try))
		if err := os.MkdirAll(mine.dir, 0o755); err != nil {
			return false, err
		}
		r, err := runOnce(ctx, &mine)
		if err != nil {
			return false, err
		}
		if p == noPlant {
			fmt.Printf("chaos: nothing planted: %s\n", r.summary())
			r.verdict.print()
			return len(r.verdict.findings) == 0, nil
		}
		if r.found("linearizability") {
			fmt.Printf("chaos: planted %s: found with seed %d: %s\n", p, mine.seed, r.verdict.counted())
			return true, nil
		}
		fmt.Printf("chaos: planted %s: not found with seed %d (%s)\n", p, mine.seed, r.verdict.counted())
	}
	fmt.Printf("chaos: FAIL: planted %s was not found\n", p)
	return false, nil
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
