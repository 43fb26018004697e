package main

import "sort"

// Of all that claim a name one at a time is told to spawn. A claim is a ticket
// with a number; from when it can have come to hold, and when it can have
// ended, follows from what was asked: it ends when it is confirmed or aborted,
// when the name is put otherwise, or when its time is over.

// ticket is a claim that somebody was told of.
type ticket struct {
	told   *op
	number uint64
	ends   []*op // its confirms and aborts
	from   int64 // not before this it came to hold
	until  int64 // nor did it end before this
}

func judgeClaims(v *verdict, ops []*op) {
	names := map[string][]*op{}
	for _, o := range ops {
		if len(o.Items) == 0 && o.Name != "" {
			names[o.key()] = append(names[o.key()], o)
		}
	}
	for _, ops := range names {
		judgeTickets(v, tickets(v, ops), ops)
	}
}

// tickets are those of one name, by number.
func tickets(v *verdict, ops []*op) []*ticket {
	byClaim := map[string]*ticket{}
	var all []*ticket
	for _, o := range ops {
		if o.Kind != opClaim || o.Claim == "" {
			continue
		}
		number, err := ticketNumber(o.Claim)
		if was := byClaim[o.Claim]; err != nil || was != nil {
			v.find("claim", "two are told of the same claim: %v, and %v", was.told, o)
			continue
		}
		byClaim[o.Claim] = &ticket{told: o, number: number}
		all = append(all, byClaim[o.Claim])
	}
	for _, o := range ops {
		if t := byClaim[o.Ticket]; o.Ticket != "" && t != nil {
			t.ends = append(t.ends, o)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].number < all[j].number })
	return all
}

func judgeTickets(v *verdict, all []*ticket, ops []*op) {
	var before *ticket
	for _, t := range all {
		t.from = t.told.Call
		if before != nil && before.until > t.from {
			t.from = before.until // in the best case it comes to hold then
		}
		t.until = t.endsNotBefore(ops)
		if before != nil {
			t.judgeAfter(v, before)
		}
		t.judgeEnds(v, ops)
		t.judgeRespect(v, ops)
		before = t
	}
}

// endsNotBefore is when a ticket can have ended first.
func (t *ticket) endsNotBefore(ops []*op) int64 { return t.endsBut(nil, ops) }

// endsBut leaves out an operation that did not end it.
func (t *ticket) endsBut(not *op, ops []*op) int64 {
	until := t.from + t.told.TTL*1e6 // its time is over
	for _, o := range ops {
		if o == not || !t.mayEndBy(o) {
			continue
		}
		at := o.Call
		if at < t.from {
			at = t.from
		}
		if at < until {
			until = at
		}
	}
	return until
}

// mayEndBy tells whether the operation can have ended the claim.
func (t *ticket) mayEndBy(o *op) bool {
	if o.Outcome == refused || (o.Outcome == decided && (!o.succeeded() || o.Return < t.told.Call)) {
		return false
	}
	if o.Kind == opAbort || o.Kind == opConfirm {
		return o.Ticket == t.told.Claim
	}
	return o.Kind == opPut // with a condition it respects the claim
}

// judgeAfter: when this one is told, the one before has ended.
func (t *ticket) judgeAfter(v *verdict, before *ticket) {
	if before.until > t.told.Return {
		v.find("claim", "two are told to spawn, the first for %.3f s more: %v, and %v",
			float64(before.until-t.told.Return)/1e9, before.told, t.told)
	}
	for _, o := range before.ends {
		if o.succeeded() && o.Call > t.told.Return {
			v.find("claim", "a claim that had passed on is ended as if it held: %v, after %v", o,
				t.told)
		}
	}
}

// judgeEnds: who is told that the claim has ended is not told so too early.
func (t *ticket) judgeEnds(v *verdict, ops []*op) {
	for _, o := range t.ends {
		if o.Outcome == decided && !o.succeeded() && t.endsBut(o, ops) > o.Return {
			v.find("claim", "a claim has ended early: %v, granted by %v", o, t.told)
		}
	}
}

// judgeRespect: who registers only a free name does not get one that is claimed.
func (t *ticket) judgeRespect(v *verdict, ops []*op) {
	for _, o := range ops {
		if o.Kind == opPutAbsent && o.changed() && o.Call > t.told.Return && o.Return < t.until {
			v.find("claim", "a claimed name is registered by: %v, claimed by %v", o, t.told)
		}
	}
}
