package main

import (
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// Replicas read their clocks in whole milliseconds, the asked and the leader.
	leaseGrain = 5 * time.Millisecond
	// What a lease may outlive its node by, where nothing happens to the cluster.
	leaseSlack = 2 * time.Second
	// A heartbeat that nobody answered may still be on its way.
	beatLag = 1500 * time.Millisecond
)

// lease is one that was taken, and when it has to end: not before From, not
// after To.
type lease struct {
	taken *op
	ends  span
}

// leases gives the leases of a room their numbers, and says when each may end.
// Nobody is told of the end, so it is an operation without an answer, which has
// to fit between both times: porcupine finds what ended early, or too late.
func leases(ops []*op, unquiet []span) []lease {
	var taken []*op
	for _, o := range ops {
		if o.Kind == opNodeUp && o.Outcome != refused {
			taken = append(taken, o)
		}
	}
	sort.Slice(taken, func(i, j int) bool { return taken[i].Call < taken[j].Call })
	var all []lease
	for i, o := range taken {
		o.lease = int(o.New.Node)*leasesOfNode + i + 1
		next := int64(forever)
		if i+1 < len(taken) {
			next = taken[i+1].Call
		}
		all = append(all, lease{o, endOf(o, ops, next, unquiet)})
	}
	return all
}

// endOf is when a lease has to end that was taken by `taken`, with heartbeats
// until another is taken.
func endOf(taken *op, ops []*op, next int64, unquiet []span) span {
	ttl := taken.TTL * int64(time.Millisecond)
	promised, heard := taken.Call, taken.Return
	for _, o := range ops {
		if o.Kind != opBeat || o.Call < taken.Call || o.Call >= next || o.Outcome == refused {
			continue
		}
		last := o.Return
		if o.Outcome == unknown {
			last += int64(beatLag)
		} else if o.Status == 200 && o.Call > promised {
			promised = o.Call
		}
		if last > heard {
			heard = last
		}
	}
	ends := span{promised + ttl - int64(leaseGrain), forever}
	if taken.Outcome == decided {
		ends.To = quietEnd(heard, ttl+int64(leaseSlack), unquiet)
	}
	return ends
}

// quietEnd is the end of the first stretch of this length, not before `from`,
// in which nothing happened to the cluster.
func quietEnd(from, length int64, unquiet []span) int64 {
	for _, s := range unquiet { // in order, and apart
		if from+length <= s.From {
			break
		}
		if s.To > from {
			from = s.To
		}
	}
	return from + length
}

// expiry is the end of a lease as an operation. Without bounds it is one that
// may happen any time, or never.
func (l lease) expiry(early, late bool) *op {
	o := &op{Client: l.taken.Client, Kind: opExpire, Room: l.taken.Room, New: l.taken.New,
		Call: l.ends.From, Return: l.ends.To, lease: l.taken.lease}
	if early {
		o.Call = l.taken.Call
	}
	if late {
		o.Return = forever
	}
	return o
}

// withExpiries adds the ends of leases to the operations of a room.
func withExpiries(history []porcupine.Operation, all []lease, early,
	late bool) []porcupine.Operation {
	var last int64
	for _, p := range history {
		if p.Return > last {
			last = p.Return
		}
	}
	history = append([]porcupine.Operation{}, history...)
	for i, l := range all {
		o := l.expiry(early, late)
		p := porcupine.Operation{ClientId: 2000 + i, Input: o, Output: o, Call: o.Call,
			Return: o.Return}
		// When all is over nobody can see any more whether it ended.
		if p.Return > last+1 {
			p.Return = last + 1
		}
		if p.Call > p.Return {
			p.Call = p.Return
		}
		history = append(history, p)
	}
	return history
}

// blame says what is wrong with a node's room that fits into no order.
func blame(history []porcupine.Operation, all []lease) (kind, text string) {
	fits := func(early, late bool) bool {
		return porcupine.CheckOperationsTimeout(model, withExpiries(history, all, early, late),
			judgeTimeoutPerRoom) == porcupine.Ok
	}
	switch {
	case len(all) == 0:
	case fits(true, false):
		return "lease", "a lease ended early"
	case fits(false, true):
		return "lease", "a lease outlived its node"
	case fits(true, true):
		return "lease", "one lease ended early, another outlived its node"
	}
	return "linearizability", "they fit into no order"
}

// inOrder sorts spans and joins those that overlap.
func inOrder(spans []span) []span { return merge(append([]span{}, spans...)) }

// judged counts the leases whose end the operations after it can tell: those
// with a last time before the history is over.
func judgedLeases(ops []*op, unquiet []span) (ended int) {
	rooms := map[string][]*op{}
	last := map[string]int64{}
	for _, o := range ops {
		if strings.HasPrefix(o.Room, "node/") {
			rooms[o.Room] = append(rooms[o.Room], o)
			if o.Return > last[o.Room] && o.Outcome == decided {
				last[o.Room] = o.Return
			}
		}
	}
	for room, ops := range rooms {
		for _, l := range leases(ops, unquiet) {
			if l.ends.To < last[room] {
				ended++
			}
		}
	}
	return ended
}
