package main

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// cell is what the registry knows of one name.
type cell struct {
	held     bool
	node     uint64
	process  uint64
	revision uint64 // of the entry; 0: put by an operation whose answer was lost
	floor    uint64 // the registry's revision is surely as high as this
}

// is tells whether the entry of an answer is what the cell holds. Owners are
// unique, so an owner of unknown revision gets it from the first answer that
// shows it, as long as it is newer than all before.
func (c cell) is(h holder) bool {
	return c.held && c.node == h.Node && c.process == h.Process &&
		(c.revision == h.Revision || (c.revision == 0 && h.Revision > c.floor))
}

func (c cell) owned(h holder) bool {
	return c.held && c.node == h.Node && c.process == h.Process
}

func (c cell) filled(h holder, revision uint64) cell {
	return cell{true, h.Node, h.Process, revision, c.floor}
}

func (c cell) emptied() cell { return cell{floor: c.floor} }

// seen is the cell after an answer showed its entry, or that it is empty.
func (c cell) seen(o *op) cell {
	if o.Found {
		c.revision = o.Entry.Revision
	}
	c.floor = o.Revision
	return c
}

// assume is the cell after a write whose answer was lost, had it been applied.
// That it never was is the case in which it comes after everything else.
func (c cell) assume(o *op) cell {
	switch o.Kind {
	case opPut:
		return c.filled(o.New, 0)
	case opPutAbsent:
		if !c.held {
			return c.filled(o.New, 0)
		}
	case opPutMatch:
		if c.is(o.Expect) {
			return c.filled(o.New, 0)
		}
	case opRemove:
		return c.emptied()
	case opRemoveOwner:
		if c.owned(o.Expect) {
			return c.emptied()
		}
	case opRemoveMatch:
		if c.is(o.Expect) {
			return c.emptied()
		}
	}
	return c
}

// step tells whether the answer is the one this cell gives, and the next cell.
func (c cell) step(o *op) (bool, cell) {
	if o.Outcome == unknown {
		return true, c.assume(o)
	}
	if o.Revision < c.floor {
		return false, c
	}
	switch {
	case o.Kind == opGet:
		return c.shows(o), c.seen(o)
	case o.changed() && o.put():
		return c.accepts(o), c.filled(o.Entry, o.Entry.Revision).seen(o)
	case o.changed():
		return c.accepts(o), c.emptied().seen(&op{Revision: o.Revision})
	default:
		return c.shows(o) && c.refuses(o), c.seen(o)
	}
}

// shows tells whether the answer shows what the cell holds.
func (c cell) shows(o *op) bool {
	if o.Found {
		return c.is(o.Entry)
	}
	return !c.held
}

// accepts tells whether a write that was carried out could be.
func (c cell) accepts(o *op) bool {
	if o.Revision <= c.floor {
		return false
	}
	switch o.Kind {
	case opPut:
		return c.held == (o.Status == 200)
	case opPutAbsent:
		return !c.held && o.Status == 201
	case opPutMatch:
		return c.is(o.Expect) && o.Status == 200
	case opRemove:
		return c.is(o.Entry)
	case opRemoveOwner:
		return c.is(o.Entry) && c.owned(o.Expect)
	case opRemoveMatch:
		return c.is(o.Entry) && c.is(o.Expect)
	}
	return false
}

// refuses tells whether a write that was answered with no had to be.
func (c cell) refuses(o *op) bool {
	switch o.Kind {
	case opPut:
		return false // it has no condition
	case opPutAbsent:
		return o.Status == 412 && c.held
	case opPutMatch:
		return o.Status == 412 && !(c.held && o.Entry.Revision == o.Expect.Revision)
	case opRemove:
		return o.Status == 404 && !c.held
	case opRemoveOwner:
		return (o.Status == 404 && !c.held) || (o.Status == 409 && c.held && !c.owned(o.Expect))
	case opRemoveMatch:
		return (o.Status == 404 && !c.held) ||
			(o.Status == 412 && c.held && o.Entry.Revision != o.Expect.Revision)
	}
	return false
}

// model is for the operations of one name; the judge has them apart already.
var model = porcupine.Model{
	Init: func() interface{} { return cell{} },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		ok, next := state.(cell).step(input.(*op))
		return ok, next
	},
	DescribeOperation: func(input, output interface{}) string { return input.(*op).String() },
	DescribeState: func(state interface{}) string {
		c := state.(cell)
		if !c.held {
			return fmt.Sprintf("free, as of %d", c.floor)
		}
		return fmt.Sprintf("%d.%d@%d, as of %d", c.node, c.process, c.revision, c.floor)
	},
}

// linearize prepares the operations of one name for porcupine. Refused ones
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
