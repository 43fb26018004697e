package main

import (
	"fmt"
	"math/rand"
	"time"
)

func withoutNet(r *run) string {
	if r.lab.net == nil {
		return "there are no network namespaces"
	}
	return ""
}

func netFaults() []*fault {
	ms := time.Millisecond
	kinds := []*fault{
		{name: "cut-halves", weight: 3, strike: cut(halves)},
		{name: "cut-leader", weight: 4, strike: cut(leaderAlone)},
		{name: "cut-ring", weight: 2, strike: cut(ring)},
		{name: "cut-inbound", weight: 2, strike: cut(inbound)},
		{name: "cut-outbound", weight: 2, strike: cut(outbound)},
		{name: "cut-connection", weight: 3, strike: cut(connection)},
		{name: "cut-all", weight: 1, max: 2000 * ms, strike: cut(isolation)},
		{name: "reset", weight: 2, min: 20 * ms, max: 800 * ms, strike: cut(resets)},
		{name: "cut-clients", weight: 1, max: 1500 * ms, strike: cut(clients)},
		{name: "bad-net", weight: 4, strike: badNet},
		{name: "slow-link", weight: 2, strike: slowLink},
	}
	for _, f := range kinds {
		f.group, f.possible = "network", withoutNet
		if f.min == 0 {
			f.min = 300 * ms
		}
		if f.max == 0 {
			f.max = 4500 * ms
		}
	}
	return kinds
}

// apply puts a rule into the switch for as long as the fault lasts.
func (n *nemesis) apply(r *rule, what string) (string, func(), error) {
	n.run.lab.net.add(r)
	return what, func() { n.run.lab.net.remove(r) }, nil
}

// cut drops, by a shape that says which directed pairs it means.
func cut(shape func(n *nemesis, rng *rand.Rand, r *rule) string) striker {
	return func(n *nemesis, rng *rand.Rand) (string, func(), error) {
		r := &rule{pairs: map[[2]int]bool{}, drop: true}
		return n.apply(r, shape(n, rng, r))
	}
}

func (r *rule) oneWay(from, to int) { r.pairs[[2]int{from, to}] = true }

func (r *rule) bothWays(a, b int) {
	r.oneWay(a, b)
	r.oneWay(b, a)
}

func (r *rule) apart(a, b []int) {
	for _, x := range a {
		for _, y := range b {
			if x != y {
				r.bothWays(x, y)
			}
		}
	}
}

// shuffled are all replicas; the leader is first half of the time.
func (n *nemesis) shuffled(rng *rand.Rand) []int {
	ids := rng.Perm(n.run.o.replicas)
	leader := n.run.watcher.leader()
	front := rng.Intn(2) == 0
	for i := range ids {
		ids[i]++
		if front && ids[i] == leader {
			ids[0], ids[i] = ids[i], ids[0]
		}
	}
	return ids
}

func halves(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	at := 1 + rng.Intn(len(ids)-1)
	r.apart(ids[:at], ids[at:])
	return fmt.Sprintf("%v from %v", ids[:at], ids[at:])
}

func leaderAlone(n *nemesis, rng *rand.Rand, r *rule) string {
	leader := n.run.watcher.leader()
	if leader == 0 {
		leader = 1 + rng.Intn(n.run.o.replicas)
	}
	ids := n.shuffled(rng)
	r.apart([]int{leader}, ids)
	return fmt.Sprintf("%d from all others", leader)
}

// ring leaves each replica its neighbours in a circle: of five everyone sees a
// majority, but no two the same. Three in a circle are whole, so one pair is
// cut, and only the third sees both.
func ring(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	if len(ids) == 3 {
		r.bothWays(ids[0], ids[1])
		return fmt.Sprintf("%d from %d, %d sees both", ids[0], ids[1], ids[2])
	}
	for i, a := range ids {
		for j, b := range ids {
			if d := (j - i + len(ids)) % len(ids); d > 1 && d < len(ids)-1 {
				r.oneWay(a, b)
			}
		}
	}
	return fmt.Sprintf("all but neighbours in %v", ids)
}

// inbound: nobody is heard by one, who is still heard by all.
func inbound(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	for _, other := range ids[1:] {
		r.oneWay(other, ids[0])
	}
	return fmt.Sprintf("%d hears nobody", ids[0])
}

func outbound(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	for _, other := range ids[1:] {
		r.oneWay(ids[0], other)
	}
	return fmt.Sprintf("nobody hears %d", ids[0])
}

// connection stops what one replica sends on the connections that it opened
// itself; the answers to the others' connections still pass.
func connection(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	r.dport = peerPort
	count := 1 + rng.Intn(len(ids)-1)
	for _, other := range ids[1 : 1+count] {
		r.oneWay(ids[0], other)
	}
	return fmt.Sprintf("own connections of %d to %v", ids[0], ids[1:1+count])
}

func isolation(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	r.apart(ids, ids)
	return "each from all others"
}

func resets(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	r.drop, r.reset = false, true
	count := 1 + rng.Intn(len(ids)-1)
	r.apart(ids[:1], ids[1:1+count])
	return fmt.Sprintf("connections between %d and %v", ids[0], ids[1:1+count])
}

// clients loses requests or, which is worse, answers.
func clients(n *nemesis, rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	if rng.Intn(2) == 0 {
		r.oneWay(0, ids[0])
		return fmt.Sprintf("requests to %d", ids[0])
	}
	r.oneWay(ids[0], 0)
	return fmt.Sprintf("answers of %d", ids[0])
}

// somePairs are the directions that a bad stretch of net is on: all, those of
// one replica, or one.
func (n *nemesis) somePairs(rng *rand.Rand, r *rule) string {
	ids := n.shuffled(rng)
	switch rng.Intn(3) {
	case 0:
		r.apart(ids, ids)
		return "all links"
	case 1:
		r.apart(ids[:1], ids)
		return fmt.Sprintf("all links of %d", ids[0])
	}
	r.oneWay(ids[0], ids[1])
	return fmt.Sprintf("%d to %d", ids[0], ids[1])
}

func badNet(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := &rule{pairs: map[[2]int]bool{}}
	where := n.somePairs(rng, r)
	for r.delay == 0 && r.loss == 0 {
		if rng.Intn(3) > 0 {
			r.delay = time.Duration(1+rng.Intn(120)) * time.Millisecond
			r.jitter = time.Duration(rng.Int63n(int64(r.delay)))
		}
		if rng.Intn(2) == 0 {
			r.loss = 0.01 + rng.Float64()*0.3
		}
		if rng.Intn(3) == 0 {
			r.double = rng.Float64() * 0.3
		}
		if rng.Intn(3) == 0 {
			r.spoil = rng.Float64() * 0.1
		}
	}
	return n.apply(r, fmt.Sprintf("%s: %v +- %v, %.0f %% lost, %.0f %% doubled, %.0f %% spoilt", where,
		r.delay, r.jitter.Round(time.Millisecond), r.loss*100, r.double*100, r.spoil*100))
}

func slowLink(n *nemesis, rng *rand.Rand) (string, func(), error) {
	r := &rule{pairs: map[[2]int]bool{}, bytesPerS: 4000 + rng.Intn(60000)}
	where := n.somePairs(rng, r)
	return n.apply(r, fmt.Sprintf("%s: %d bytes/s", where, r.bytesPerS))
}
