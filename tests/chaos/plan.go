package main

import (
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"time"
)

const (
	gapMin = 1000 * time.Millisecond // between the beginnings of two faults
	gapMax = 3200 * time.Millisecond
	calm   = 800 * time.Millisecond // before the first one

	alternatives = 4

	// The least that a run must have seen to say anything: 12 a minute.
	faultsPerMinuteMin = 12
)

// fault is one kind. strike does it and returns what undoes it, or says why it
// cannot be done now; undo may be nil.
type fault struct {
	name, group string
	weight      int
	min, max    time.Duration // how long it lasts
	// possible says "" or why this kind cannot be had here.
	possible func(r *run) string
	strike   striker
}

// blow is a fault at its time. Everything about it comes from the seed but who
// leads and which replicas other faults have at that moment.
type blow struct {
	at, last time.Duration
	faults   [alternatives]*fault // the first one that is possible then
	seed     int64
}

func faultNames() string {
	groups := map[string][]string{}
	for _, f := range faults {
		groups[f.group] = append(groups[f.group], f.name)
	}
	var texts []string
	for group, names := range groups {
		texts = append(texts, group+" ("+strings.Join(names, " ")+")")
	}
	sort.Strings(texts)
	return strings.Join(texts, ", ") + "; all, none"
}

// selectFaults reads the list of --faults.
func selectFaults(list string) ([]*fault, error) {
	var chosen []*fault
	taken := map[string]bool{}
	for _, word := range strings.Split(list, ",") {
		found := word == "none"
		for _, f := range faults {
			if word != "all" && word != f.name && word != f.group {
				continue
			}
			found = true
			if !taken[f.name] {
				taken[f.name] = true
				chosen = append(chosen, f)
			}
		}
		if !found {
			return nil, fmt.Errorf("%q is none of: %s", word, faultNames())
		}
	}
	return chosen, nil
}

// plan decides what strikes when.
func plan(seed int64, length time.Duration, kinds []*fault) []blow {
	rng := rand.New(rand.NewSource(seed))
	var blows []blow
	if len(kinds) == 0 {
		return nil
	}
	between := func(min, max time.Duration) time.Duration {
		return min + time.Duration(rng.Int63n(int64(max-min)+1))
	}
	for at := calm; at < length; at += between(gapMin, gapMax) {
		var b blow
		for i := range b.faults {
			b.faults[i] = pick(rng, kinds)
		}
		b.at, b.seed = at, rng.Int63()
		b.last = between(b.faults[0].min, b.faults[0].max)
		blows = append(blows, b)
	}
	return blows
}

func pick(rng *rand.Rand, kinds []*fault) *fault {
	total := 0
	for _, f := range kinds {
		total += f.weight
	}
	at := rng.Intn(total)
	for _, f := range kinds {
		if at -= f.weight; at < 0 {
			return f
		}
	}
	return kinds[0]
}
