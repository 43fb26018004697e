package main

import "testing"

// Histories of batches, lists, keys, claims and leases, as in judge_test.go; and
// streams, each with what it must lead to.

const second = 1000000 // in the unit of at()

func putItem(name string, process uint64) item {
	return item{Kind: opPut, Name: name, New: own(process, 0)}
}

func getItem(name string) item { return item{Kind: opGet, Name: name} }

func guarded(it item, g guard, expect holder) item {
	it.Guard, it.Expect = g, expect
	return it
}

func shown(process, revision uint64) result { return result{200, true, own(process, revision)} }
func made(process, revision uint64) result  { return result{201, true, own(process, revision)} }

var absent = result{Status: 404}

func grouped(o op) op { return with(o, func(o *op) { o.Room = "group/g" }) }

func called(name string, o op) op {
	return with(o, func(o *op) { o.Name, o.Room = name, "group/g" })
}

func batch(asOf uint64, items []item, results ...result) op {
	return grouped(op{Kind: opBatch, Items: items,
		heard: heard{Status: 200, Revision: asOf, Results: results}})
}

func refusedBatch(asOf uint64, at int, reason string, items ...item) op {
	return grouped(op{Kind: opBatch, Items: items, heard: heard{Status: 409, Code: batchRefused,
		Revision: asOf, RefusedAt: at, Reason: reason}})
}

func lostBatch(items ...item) op {
	return grouped(op{Kind: opBatch, Items: items, heard: heard{Outcome: unknown}})
}

func list(asOf uint64, results ...result) op {
	o := op{Kind: opList, heard: heard{Status: 200, Revision: asOf, Results: results}}
	for i := range results {
		o.Items = append(o.Items, getItem(string(rune('a'+i))))
	}
	return grouped(o)
}

var two = []item{putItem("a", 1), putItem("b", 2)}

var groupScenes = []scene{
	{"a batch, and what a list shows of it", []*op{at(batch(1, two, made(1, 1), made(2, 1)), 0, 1),
		at(list(1, shown(1, 1), shown(2, 1), absent), 2, 3)}, 1, nil},
	{"each item finds what those before it leave", []*op{at(batch(1, []item{putItem("a", 1),
		guarded(getItem("a"), ifOwner, own(1, 0)), {Kind: opRemove, Name: "a"}, getItem("a"),
		putItem("a", 2)}, made(1, 1), shown(1, 1), shown(1, 1), absent, made(2, 1)), 0, 1),
		at(called("a", get(2, 1, 1)), 2, 3)}, 1, nil},
	{"an acknowledged batch is half applied", []*op{
		at(batch(1, two, made(1, 1), made(2, 1)), 0, 1), at(list(1, shown(1, 1), absent), 2, 3)}, 1,
		[]string{"linearizability", "revision"}},
	{"a batch whose answer was lost is half applied", []*op{at(lostBatch(two...), 0, 1),
		at(list(1, shown(1, 1), absent), 2, 3)}, 1, []string{"linearizability"}},
	{"it is not applied at all, or late", []*op{at(lostBatch(two...), 0, 1),
		at(list(0, absent, absent), 2, 3), at(list(1, shown(1, 1), shown(2, 1)), 4, 5)}, 1, nil},
	{"it is applied at two revisions", []*op{at(lostBatch(two...), 0, 1),
		at(list(2, shown(1, 1), shown(2, 2)), 2, 3)}, 2, []string{"linearizability", "account"}},
	{"what a refused batch wanted is there", []*op{
		at(called("b", put(9, 1, 201)), 0, 1),
		at(refusedBatch(1, 1, nameTaken, two[0], guarded(two[1], ifAbsent, holder{})), 2, 3),
		at(called("a", get(1, 2, 2)), 4, 5)}, 2, []string{"linearizability", "refused", "account"}},
	{"a batch is refused for what is not so", []*op{
		at(refusedBatch(0, 1, nameTaken, two[0], guarded(two[1], ifAbsent, holder{})), 2, 3)}, 0,
		[]string{"linearizability"}},
	{"a batch is refused at another item", []*op{at(called("b", put(9, 1, 201)), 0, 1),
		at(refusedBatch(1, 0, nameTaken, two[0], guarded(two[1], ifAbsent, holder{})), 2, 3)}, 1,
		[]string{"linearizability"}},
	{"a condition was not met, and the batch passes", []*op{at(called("b", put(9, 1, 201)), 0, 1),
		at(batch(2, []item{two[0], guarded(two[1], ifRevision, own(9, 7))}, made(1, 2), shown(2, 2)),
			2, 3)}, 2, []string{"linearizability"}},
	{"a list of two moments", []*op{at(called("a", put(1, 1, 201)), 0, 1),
		at(called("b", put(2, 2, 201)), 2, 9), at(called("a", remove(1, 1, 3)), 3, 9),
		at(list(3, shown(1, 1), shown(2, 2)), 4, 8)}, 3, []string{"linearizability", "revision"}},
	{"a list leaves out what is there", []*op{at(called("a", put(1, 1, 201)), 0, 1),
		at(list(1, absent), 2, 3)}, 1, []string{"linearizability", "revision"}},
}

func keyed(o op, replay heard) op {
	return with(o, func(o *op) { o.Key, o.Replays = "k", []heard{replay} })
}

func replayed(h heard) heard {
	h.Outcome, h.Replayed = decided, true
	return h
}

var keyScenes = []scene{
	{"a key tells the first outcome again", []*op{
		at(keyed(put(1, 1, 201), replayed(put(1, 1, 201).heard)), 0, 1)}, 1, nil},
	{"it tells another one", []*op{
		at(keyed(put(1, 1, 201), replayed(put(1, 2, 200).heard)), 0, 1)}, 2,
		[]string{"key", "account"}},
	{"it was forgotten", []*op{at(keyed(put(1, 1, 201), with(put(1, 1, 201), func(o *op) {
		o.Outcome = decided
	}).heard), 0, 1)}, 1, []string{"key"}},
	{"of a batch an item is told otherwise", []*op{at(keyed(batch(1, two, made(1, 1), made(2, 1)),
		replayed(batch(1, two, made(1, 1), shown(2, 1)).heard)), 0, 1)}, 1, []string{"key"}},
	{"a write of unknown outcome is applied by its repetition too", []*op{
		at(with(put(1, 1, 201), func(o *op) { o.Key, o.Tries = "k", 2 }), 0, 9),
		at(put(2, 2, 200), 10, 11), at(get(1, 3, 3), 12, 13)}, 3,
		[]string{"linearizability", "account"}},
}

func claim(id string) op {
	return op{Kind: opClaim, New: own(0, 0), TTL: 1000, heard: heard{Status: 201, Claim: id}}
}

func endClaim(k kind, id string, h heard) op { return op{Kind: k, Ticket: id, heard: h} }

func confirm(id string, process, revision uint64) op {
	return with(put(process, revision, 201), func(o *op) { o.Kind, o.Ticket = opConfirm, id })
}

var gone = heard{Status: 404, Code: noSuchClaim}

var claimScenes = []scene{
	{"a claim is confirmed, the next comes when the name is free", []*op{at(claim("1-a"), 0, 1),
		at(confirm("1-a", 7, 1), 2, 3), at(remove(7, 1, 2), 4, 5),
		at(with(claim("2-b"), func(o *op) { o.Revision = 2 }), 6, 7)}, 2, nil},
	{"two are told to spawn", []*op{at(claim("1-a"), 0, 1), at(claim("2-b"), 2, 3)}, 0,
		[]string{"claim"}},
	{"the second waits until the first is aborted", []*op{at(claim("1-a"), 0, 1),
		at(claim("2-b"), 2, 9), at(endClaim(opAbort, "1-a", heard{Status: 200}), 7, 8)}, 0, nil},
	{"but not until then", []*op{at(claim("1-a"), 0, 1), at(claim("2-b"), 2, 5),
		at(endClaim(opAbort, "1-a", heard{Status: 200}), 7, 8)}, 0, []string{"claim"}},
	{"a claim's time is over", []*op{at(claim("1-a"), 0, 1),
		at(claim("2-b"), 2, second), at(endClaim(opConfirm, "1-a", gone), second+1, second+2)}, 0,
		nil},
	{"it is over early", []*op{at(claim("1-a"), 0, 1),
		at(endClaim(opConfirm, "1-a", gone), second/2, second/2+1)}, 0, []string{"claim"}},
	{"a claim that has passed on is confirmed", []*op{at(claim("1-a"), 0, 1),
		at(claim("2-b"), 2, second), at(confirm("1-a", 7, 1), second+1, second+2)}, 1,
		[]string{"claim"}},
	{"a plain put beats a claim", []*op{at(claim("1-a"), 0, 1), at(put(7, 1, 201), 2, 3),
		at(endClaim(opConfirm, "1-a", with(miss(1), func(o *op) { o.Code = noSuchClaim }).heard), 4,
			5)}, 1, nil},
	{"put-if-absent does, too", []*op{at(claim("1-a"), 0, 1),
		at(as(opPutAbsent, put(7, 1, 201)), 2, 3)}, 1, []string{"claim"}},
	{"two are told of one claim", []*op{at(claim("1-a"), 0, 1), at(claim("1-a"), second, second+1)},
		0, []string{"claim"}},
	{"a claim on a name that is registered", []*op{at(put(7, 1, 201), 0, 1),
		at(with(claim("1-a"), func(o *op) { o.Revision = 1 }), 2, 3)}, 1,
		[]string{"linearizability", "revision"}},
}

const aNode = 4711

func ofNode(o op) op { return with(o, func(o *op) { o.Room = "node/4711" }) }

func up(asOf uint64) op {
	return ofNode(op{Kind: opNodeUp, New: holder{Node: aNode}, TTL: 1000,
		heard: heard{Status: 200, Revision: asOf}})
}

func beat(status int) op {
	return ofNode(op{Kind: opBeat, New: holder{Node: aNode}, heard: heard{Status: status}})
}

func nodeDown(asOf, removed uint64) op {
	return ofNode(op{Kind: opNodeDown, New: holder{Node: aNode},
		heard: heard{Status: 200, Revision: asOf, Removed: removed}})
}

func nodePut(name string, process, revision uint64) op {
	return with(ofNode(put(process, revision, 201)), func(o *op) {
		o.Name, o.New.Node, o.Entry.Node = name, aNode, aNode
	})
}

func nodeGet(name string, process, revision, asOf uint64) op {
	return with(ofNode(get(process, revision, asOf)), func(o *op) {
		o.Name, o.Entry.Node = name, aNode
	})
}

func nodeMiss(name string, asOf uint64) op {
	return with(ofNode(miss(asOf)), func(o *op) { o.Name = name })
}

func alive(more ...*op) []*op {
	return append([]*op{at(up(1), 0, 1), at(nodePut("a", 1, 2), 2, 3), at(nodePut("b", 2, 3), 4, 5)},
		more...)
}

var leaseScenes = []scene{
	{"names go when the lease is over", alive(at(nodeGet("a", 1, 2, 3), second-second/4, second-9),
		at(nodeMiss("a", 4), second, second+1), at(nodeMiss("b", 4), second+2, second+3)), 4, nil},
	{"they go early", alive(at(nodeMiss("a", 4), second/2, second/2+1)), 4, []string{"lease"}},
	{"a heartbeat is granted, and forgotten", alive(at(beat(200), second/2, second/2+1),
		at(nodeMiss("a", 4), second+1, second+2)), 4, []string{"lease"}},
	{"a heartbeat that nobody answered may have been lost", alive(
		at(with(beat(0), func(o *op) { o.Outcome = unknown }), second/2, second/2+1),
		at(nodeMiss("a", 4), second+1, second+2)), 4, nil},
	{"two seconds after its end a lease is no more", alive(
		at(nodeGet("a", 1, 2, 3), 3*second-9, 3*second)), 3, nil},
	{"but it is", alive(at(nodeGet("a", 1, 2, 3), 3*second+9, 3*second+10)), 3, []string{"lease"}},
	{"one name goes and another stays", alive(at(nodeMiss("a", 4), second, second+1),
		at(nodeGet("b", 2, 3, 4), second+2, second+3)), 4, []string{"linearizability"}},
	{"all are counted", alive(at(nodeDown(4, 2), 6, 7), at(nodeMiss("a", 4), 8, 9)), 4, nil},
	{"one is not", alive(at(nodeDown(4, 1), 6, 7)), 4, []string{"linearizability"}},
	{"a node that is down is refused", alive(at(nodeDown(4, 2), 6, 7),
		at(with(nodePut("a", 3, 4), func(o *op) {
			o.heard = heard{Status: 409, Code: nodeIsDown, Revision: 4}
		}), 8, 9), at(beat(404), 10, 11)), 4, nil},
	{"a node that is down registers", alive(at(nodeDown(4, 2), 6, 7), at(nodePut("a", 3, 5), 8, 9)),
		5, []string{"linearizability"}},
	{"a heartbeat of a node that is down", alive(at(nodeDown(4, 2), 6, 7), at(beat(200), 8, 9)), 4,
		[]string{"linearizability"}},
	{"a heartbeat is refused while the node is up", alive(at(beat(404), 8, 9)), 3,
		[]string{"lease"}},
	{"a lease is taken anew", alive(at(nodeMiss("a", 4), second, second+1),
		at(up(5), second+2, second+3), at(nodePut("a", 3, 6), second+4, second+5),
		at(nodeGet("a", 3, 6, 6), 2*second-9, 2*second-8)), 6, nil},
}

func TestJudgeRooms(t *testing.T) {
	for _, scenes := range [][]scene{groupScenes, keyScenes, claimScenes, leaseScenes} {
		for _, c := range scenes {
			c.judge(t, ending{Revision: c.end})
		}
	}
}

// While something happens to the cluster a lease may run longer.
func TestUnquiet(t *testing.T) {
	late := alive(at(nodeGet("a", 1, 2, 3), 5*second, 5*second+1))
	for _, c := range []struct {
		unquiet []span
		finds   []string
	}{
		{nil, []string{"lease"}},
		{[]span{{0, second * 1000}}, []string{"lease"}},
		{[]span{{0, second * 1000}, {3 * second * 1000, 4 * second * 1000}}, nil},
		{[]span{{4 * second * 1000, 5 * second * 1000}}, []string{"lease"}},
	} {
		scene{"a lease in trouble", late, 3, c.finds}.judge(t, ending{Revision: 3, Unquiet: c.unquiet})
	}
}

// --- Streams --------------------------------------------------------------------

func put2(name string, process, revision uint64, previous ...holder) event {
	e := event{Type: eventPut, HasID: true, ID: revision, Name: name, Entry: own(process, revision)}
	if len(previous) > 0 {
		e.Had, e.Previous = true, previous[0]
	}
	return e
}

func within1(e event) event { // one of several of a revision
	e.HasID, e.ID = false, 0
	return e
}

func mark(kind string, revision uint64) event {
	return event{Type: kind, HasID: kind != eventReset, ID: revision,
		Entry: holder{Revision: revision}}
}

var lost = event{Type: eventLost}

func removed(name string, revision uint64, previous holder) event {
	return event{Type: eventRemove, HasID: true, ID: revision, Name: name,
		Entry: holder{Revision: revision}, Had: true, Previous: previous}
}

func TestJudgeStreams(t *testing.T) {
	log := []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3), at(remove(2, 2, 3), 4, 5)}
	start := mark(eventSynced, 0)
	first, next := put2("n", 1, 1), put2("n", 2, 2, own(1, 1))
	last := removed("n", 3, own(2, 2))
	for _, c := range []struct {
		what    string
		streams [][]event
		finds   []string
	}{
		{"all", [][]event{{start, first, next, last}}, nil},
		{"from the middle", [][]event{{within1(first), mark(eventSynced, 1), next, last}}, nil},
		{"begun anew", [][]event{{start, first, lost, mark(eventReset, 2), within1(put2("n", 2, 2)),
			mark(eventSynced, 2), last}}, nil},
		{"cut off in the middle of a revision", [][]event{{start, within1(first), lost, first, next,
			last, mark(eventBookmark, 3)}}, nil},
		{"a gap", [][]event{{start, first, last}}, []string{"watch"}},
		{"a gap at the beginning", [][]event{{start, next, last}}, []string{"watch"}},
		{"a gap at the end", [][]event{{start, first, next, mark(eventBookmark, 3)}},
			[]string{"watch"}},
		{"the same again", [][]event{{start, first, next, lost, next, last}}, []string{"watch"}},
		{"in another order", [][]event{{start, next, first, last}}, []string{"watch"}},
		{"two that differ", [][]event{{start, first, next, last}, {start, first,
			put2("n", 2, 2), last}}, []string{"watch"}},
		{"present entries that are not", [][]event{{mark(eventSynced, 2), last}}, []string{"watch"}},
		{"before it was synced", [][]event{{first, start, next, last}}, []string{"watch"}},
		{"never synced", [][]event{{within1(first)}}, []string{"watch"}},
		{"synced into the past", [][]event{{start, first, next, mark(eventReset, 1),
			within1(first), mark(eventSynced, 1), next, last}}, []string{"watch"}},
		{"out of nowhere", [][]event{{start, put2("n", 5, 1), put2("n", 2, 2, own(5, 1)), last}},
			[]string{"phantom", "revision"}},
		{"another revision", [][]event{{start, first, put2("n", 2, 3, own(1, 1))}},
			[]string{"watch", "revision"}},
	} {
		end := ending{Revision: 3}
		for i, events := range c.streams {
			end.Streams = append(end.Streams, &stream{Env: 1, Number: i, Events: events})
		}
		scene{c.what, log, 3, c.finds}.judge(t, end)
	}
}

// What is applied twice is told twice.
func TestTwice(t *testing.T) {
	log := []*op{at(lostPut(1), 0, 1), at(put(2, 2, 200), 2, 3)}
	scene{"twice", log, 3, []string{"twice", "account"}}.judge(t, ending{Revision: 3,
		Streams: []*stream{{Env: 1, Events: []event{mark(eventSynced, 0), put2("n", 1, 1),
			put2("n", 2, 2, own(1, 1)), put2("n", 1, 3, own(2, 2))}}}})
}

// All names of a node go with one event.
func TestStreamOfNode(t *testing.T) {
	down := event{Type: eventNodeDown, HasID: true, ID: 4, Node: aNode, Removed: 2,
		Entry: holder{Revision: 4}}
	a, b := put2("a", 1, 2), put2("b", 2, 3)
	a.Entry.Node, b.Entry.Node = aNode, aNode
	few := down
	few.Removed = 1
	for _, c := range []struct {
		last  event
		finds []string
	}{{down, nil}, {few, []string{"watch"}}} {
		scene{"a node goes", alive(at(nodeDown(4, 2), 6, 7)), 4, c.finds}.judge(t,
			ending{Revision: 4, Streams: []*stream{{Env: 1,
				Events: []event{mark(eventSynced, 1), a, b, c.last}}}})
	}
}
