package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// cell is what the registry knows of one name.
type cell struct {
	held     bool
	node     uint64
	process  uint64
	revision uint64 // of the entry; 0: put by an operation whose answer was lost
	// Of an unknown revision it is known that it is higher than this, and the
	// same as that of all other names that the same operation put.
	floor uint64
	by    uint64
}

// is tells whether the entry of an answer is what the cell holds. Owners are
// unique, so an owner of unknown revision gets it from the first answer that
// shows it, as long as it is newer than all before.
func (c cell) is(h holder) bool {
	return c.owned(h) && (c.revision == h.Revision || (c.revision == 0 && h.Revision > c.floor))
}

func (c cell) owned(h holder) bool {
	return c.held && c.node == h.Node && c.process == h.Process
}

// namesMax is of one room.
const namesMax = 4

// room is what the registry knows of names that are judged together: a single
// one, those of a batch, or those of a node with its lease. It is a value, as
// porcupine compares and keeps them.
type room struct {
	cells [namesMax]cell // in the order of the names
	floor uint64         // the registry's revision is surely as high as this
	// Of the one node of the room.
	leased bool // it had a lease, or was declared down
	up     bool
	lease  int // which one
}

// The code of a refusal, or that there is none.
const (
	fine         = ""
	notFound     = "process_not_found"
	nameTaken    = "name_taken"
	nameClaimed  = "name_claimed"
	otherEntry   = "precondition_failed"
	notOwner     = "not_owner"
	nodeIsDown   = "node_down"
	noSuchNode   = "node_not_found"
	noSuchClaim  = "claim_not_found"
	batchRefused = "batch_refused"
	otherRequest = "idempotency_mismatch"
)

var statusOf = map[string]int{notFound: 404, nameTaken: 412, nameClaimed: 412, otherEntry: 412,
	notOwner: 409, nodeIsDown: 409}

// judge says whether an item would be refused, and why; what
// registry_judge() of raft_fsm/ does.
func (r *room) judge(it *item) string {
	c := r.cells[it.at]
	switch {
	case it.Kind == opPut && r.leased && !r.up && it.New.Node == r.node():
		return nodeIsDown
	case it.Guard == ifAbsent && c.held:
		return nameTaken
	case it.Guard == ifAbsent:
		return fine
	case !c.held && it.Kind != opPut:
		return notFound
	case !c.held && it.Guard == ifRevision:
		return otherEntry
	case it.Guard == ifRevision && !c.is(it.Expect):
		return otherEntry
	case it.Guard == ifOwner && !c.owned(it.Expect):
		return notOwner
	}
	return fine
}

// node is the id of the room's node: leases are numbered by node.
func (r *room) node() uint64 { return uint64(r.lease) / leasesOfNode }

// do carries an item out that is not refused, at a revision that may be unknown.
func (r *room) do(it *item, revision, by uint64) {
	switch it.Kind {
	case opPut:
		c := cell{held: true, node: it.New.Node, process: it.New.Process, revision: revision}
		if revision == 0 {
			c.floor, c.by = r.floor, by
		}
		r.cells[it.at] = c
	case opRemove:
		r.cells[it.at] = cell{}
	}
}

// shows tells whether the answer shows what the room holds of a name, and
// learns its revision.
func (r *room) shows(at int, found bool, entry holder) bool {
	c := r.cells[at]
	if !found || !c.is(entry) {
		return !found && !c.held
	}
	if c.revision == 0 {
		for i := range r.cells {
			if other := &r.cells[i]; other.held && other.revision == 0 && other.by == c.by {
				other.revision, other.floor, other.by = entry.Revision, 0, 0
			}
		}
	}
	return true
}

// step tells whether the answer is the one that this room gives, and the next room.
func (r room) step(o *op) (bool, room) {
	if o.Kind == opExpire {
		r.expire(o)
		return true, r
	}
	if o.Outcome == unknown {
		r.assume(o)
		return true, r
	}
	if o.Kind == opBeat {
		return (o.Status == 200) == (r.leased && r.up), r
	}
	if o.Revision < r.floor || (o.changed() && o.Revision == r.floor) {
		return false, r
	}
	ok := r.answer(o)
	r.floor = o.Revision
	return ok, r
}

func (r *room) answer(o *op) bool {
	switch o.Kind {
	case opBatch:
		return r.batch(o)
	case opList:
		return r.list(o)
	case opNodeUp:
		r.leased, r.up, r.lease = true, true, o.lease
		return o.Status == 200
	case opNodeDown:
		return r.down(o)
	case opClaim: // whose claim it is, is judged elsewhere: the name is free while there is one
		return r.shows(o.at, o.Found, o.Entry)
	case opAbort:
		return true
	case opConfirm:
		if !o.succeeded() {
			return true
		}
	}
	return r.single(o)
}

// assume is the room after a write whose answer was lost, had it been carried
// out. That it never was is the case in which it comes after everything else.
func (r *room) assume(o *op) {
	switch o.Kind {
	case opBatch:
		after := *r
		for i := range o.Items {
			if code := after.judge(&o.Items[i]); code == fine {
				after.do(&o.Items[i], 0, uint64(o.Call))
			} else if code != notFound || o.Items[i].Guard != noGuard {
				return
			}
		}
		*r = after
	case opNodeUp:
		r.leased, r.up, r.lease = true, true, o.lease
		r.floor++
	case opNodeDown:
		if r.leased || r.names(o.New.Node) > 0 {
			r.fall(o)
		}
	default:
		if it := o.sole(); r.judge(&it) == fine {
			r.do(&it, 0, uint64(o.Call))
		}
	}
}

func (r *room) single(o *op) bool {
	it := o.sole()
	code := r.judge(&it)
	if !o.succeeded() {
		if code == fine && o.Kind == opPutAbsent && o.Code == nameClaimed {
			code = nameClaimed
		}
		return code != fine && statusOf[code] == o.Status && r.shows(o.at, o.Found, o.Entry)
	}
	if code != fine {
		return false
	}
	if it.Kind == opPut {
		fits := o.Entry.Revision == o.Revision && (o.Status == 200) == r.cells[o.at].held
		r.do(&it, o.Revision, 0)
		return fits
	}
	ok := r.shows(o.at, o.Found, o.Entry)
	r.do(&it, o.Revision, 0)
	return ok
}

// batch is judged item by item, each as those before it leave the room.
func (r *room) batch(o *op) bool {
	after := *r
	for i := range o.Items {
		it := &o.Items[i]
		code := after.judge(it)
		if code != fine && (code != notFound || it.Guard != noGuard) {
			return o.Code == batchRefused && o.RefusedAt == i && o.Reason == code &&
				(!o.Found || r.shows(it.at, true, o.Entry))
		}
		if o.Code == batchRefused && o.RefusedAt == i {
			return false
		}
		if o.succeeded() && !after.result(it, code, o.Results[i], o.Revision) {
			return false
		}
		if code == fine {
			after.do(it, o.Revision, 0)
		}
	}
	if !o.succeeded() {
		return false
	}
	*r = after
	return true
}

// result tells whether an item of a batch may be answered so.
func (r *room) result(it *item, code string, s result, revision uint64) bool {
	switch {
	case code != fine:
		return s.Status == 404 && !s.Found
	case it.Kind == opPut:
		return (s.Status == 200) == r.cells[it.at].held && s.Found &&
			s.Entry == holder{it.New.Node, it.New.Process, revision}
	case !r.cells[it.at].held: // a look at a name that has to be free
		return s.Status == 200 && !s.Found
	}
	return s.Status == 200 && r.shows(it.at, s.Found, s.Entry)
}

func (r *room) list(o *op) bool {
	for i, s := range o.Results {
		if !r.shows(o.Items[i].at, s.Found, s.Entry) {
			return false
		}
	}
	return true
}

// --- Nodes --------------------------------------------------------------------

// leasesOfNode is more than one node ever takes: the number of a lease tells
// whose it is.
const leasesOfNode = 1000

func (r *room) names(node uint64) uint64 {
	var n uint64
	for _, c := range r.cells {
		if c.held && c.node == node {
			n++
		}
	}
	return n
}

// fall takes the node down, with all its names.
func (r *room) fall(o *op) {
	for i, c := range r.cells {
		if c.held && c.node == o.New.Node {
			r.cells[i] = cell{}
		}
	}
	r.leased, r.up = true, false
	r.lease = int(o.New.Node) * leasesOfNode
	r.floor++
}

func (r *room) down(o *op) bool {
	removed := r.names(o.New.Node)
	switch {
	case o.Status == 404 || (!r.leased && removed == 0):
		return o.Status == 404 && !r.leased && removed == 0
	case r.leased && !r.up:
		return o.Removed == 0
	case o.Removed != removed || o.Revision <= r.floor:
		return false
	}
	r.fall(o)
	return true
}

func (r *room) expire(o *op) {
	if r.leased && r.up && r.lease == o.lease {
		r.fall(o)
	}
}

// --- For porcupine --------------------------------------------------------------

// model is for the operations of one room; the judge has them apart already.
var model = porcupine.Model{
	Init: func() interface{} { return room{} },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		ok, next := state.(room).step(input.(*op))
		return ok, next
	},
	DescribeOperation: func(input, output interface{}) string { return input.(*op).String() },
	DescribeState:     func(state interface{}) string { return state.(room).String() },
}

func (r room) String() string {
	var texts []string
	for i, c := range r.cells {
		if c.held {
			texts = append(texts, fmt.Sprintf("%c: %d.%d@%d", 'a'+i, c.node, c.process, c.revision))
		}
	}
	if r.leased {
		texts = append(texts, fmt.Sprintf("lease %d, up: %v", r.lease, r.up))
	}
	return fmt.Sprintf("%s as of %d", strings.Join(texts, ", "), r.floor)
}

// place numbers the names of a room's operations.
func place(ops []*op) error {
	var keys []string
	known := map[string]int{}
	each := func(name func(key string) int) {
		for _, o := range ops {
			if len(o.Items) == 0 && o.Name != "" {
				o.at = name(o.key())
			}
			for i := range o.Items {
				o.Items[i].at = name(keyOf(o.Env, o.Items[i].Name))
			}
		}
	}
	each(func(key string) int {
		if _, ok := known[key]; !ok {
			known[key] = 0
			keys = append(keys, key)
		}
		return 0
	})
	if len(keys) > namesMax {
		return fmt.Errorf("%d names", len(keys))
	}
	sort.Strings(keys)
	for i, key := range keys {
		known[key] = i
	}
	each(func(key string) int { return known[key] })
	return nil
}

// linearize prepares the operations of one room for porcupine. Refused ones
// have no effect and are left out, as are look-ups without an answer; an
// unknown one never returns.
func linearize(ops []*op) []porcupine.Operation {
	var last int64
	var all []porcupine.Operation
	lanes := 1000 // an unknown operation stays open: a lane of its own in the picture
	for _, o := range ops {
		if o.Return > last {
			last = o.Return
		}
	}
	for _, o := range ops {
		if !o.linear() || o.Outcome == refused || (o.Outcome == unknown && !o.write()) {
			continue
		}
		p := porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: o.Call,
			Return: o.Return}
		if o.Outcome == unknown {
			lanes++
			p.ClientId, p.Return = lanes, last+1
		}
		all = append(all, p)
	}
	return all
}
