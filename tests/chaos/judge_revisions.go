package main

import "sort"

// The revision is one counter for all names, and each answer says as of which
// revision it speaks. So the answers can be held against one story without any
// search: which change was made at which revision, and what each name held in
// between.

// change is one step of a name's story.
type change struct {
	revision uint64
	held     bool
	owner    holder
}

type story struct {
	changes []change // by revision, those that an answer proves
	// Removals whose answer was lost: the name may have become free where no
	// answer says so.
	maybeRemoved bool
}

func judgeRevisions(v *verdict, ops []*op, end ending) {
	stories := tell(v, ops)
	for _, o := range ops {
		if o.Outcome == decided {
			hold(v, stories[o.key()], o)
		}
	}
	judgeOwners(v, ops)
	judgeRealTime(v, ops)
	judgeSameReplica(v, ops)
	judgeAccount(v, ops, end)
}

// tell collects every change that an answer proves, and finds revisions that
// two changes claim.
func tell(v *verdict, ops []*op) map[string]*story {
	type claim struct {
		key string
		change
	}
	claims := map[uint64]claim{}
	stories := map[string]*story{}
	take := func(o *op, c change) {
		was, known := claims[c.revision]
		if known && was != (claim{o.key(), c}) {
			v.find("revision", "revision %d is of two changes: %s %v and %v", c.revision, was.key,
				was.change, o)
			return
		}
		if !known {
			claims[c.revision] = claim{o.key(), c}
			s := stories[o.key()]
			s.changes = append(s.changes, c)
		}
	}
	for _, o := range ops {
		s := stories[o.key()]
		if s == nil {
			s = &story{}
			stories[o.key()] = s
		}
		switch {
		case o.Outcome == unknown && o.write() && !o.put():
			s.maybeRemoved = true
		case o.Outcome == decided && o.Found:
			take(o, change{o.Entry.Revision, true, o.Entry})
		}
		if o.changed() && !o.put() {
			take(o, change{revision: o.Revision})
		}
		if o.changed() && o.put() && o.Entry.Revision != o.Revision {
			v.find("revision", "the entry is of another revision than the answer: %v", o)
		}
	}
	for _, s := range stories {
		sort.Slice(s.changes, func(i, j int) bool {
			return s.changes[i].revision < s.changes[j].revision
		})
	}
	return stories
}

// hold holds one answer, stale ones included, against the story of its name:
// what it shows must have been current at the revision it names.
func hold(v *verdict, s *story, o *op) {
	revision := o.Revision
	if o.changed() {
		revision-- // what a change shows of the past is as of the revision before
	}
	i := sort.Search(len(s.changes), func(i int) bool { return s.changes[i].revision > revision })
	var last change
	if i > 0 {
		last = s.changes[i-1]
	}
	switch {
	case o.changed() && o.put():
		// Shows itself only; porcupine judges its condition.
	case o.Found && last.revision != o.Entry.Revision:
		v.find("revision", "shows an entry that had been replaced at revision %d: %v", last.revision, o)
	case !o.Found && last.held && !s.maybeRemoved:
		v.find("revision", "does not show %d.%d@%d: %v", last.owner.Node, last.owner.Process,
			last.revision, o)
	}
	if o.Kind == opAtLeast && o.Revision < o.AtLeast {
		v.find("revision", "older than was asked for: %v", o)
	}
}

// judgeOwners finds owners out of nowhere: each that is shown must have been
// registered for this name, by a write that was not refused.
func judgeOwners(v *verdict, ops []*op) {
	type origin struct{ node, process uint64 }
	writes := map[origin]*op{}
	for _, o := range ops {
		if o.put() {
			writes[origin{o.New.Node, o.New.Process}] = o
		}
	}
	for _, o := range ops {
		if o.Outcome != decided || !o.Found {
			continue
		}
		w := writes[origin{o.Entry.Node, o.Entry.Process}]
		switch {
		case w == nil || w.key() != o.key():
			v.find("phantom", "shows an owner that nobody registered: %v", o)
		case w.Outcome == refused || (w.Outcome == decided && !w.changed()):
			v.find("refused", "shows what was refused by: %v; seen by: %v", w, o)
		case w.Call > o.Return:
			v.find("phantom", "shows what was registered only later: %v", o)
		}
	}
}

// judgeRealTime asks across all names: who begins after another has ended sees
// no older registry. Together with porcupine's verdict on each name this is
// strict serializability.
func judgeRealTime(v *verdict, ops []*op) {
	var linear []*op
	for _, o := range ops {
		if o.linear() && o.Outcome == decided {
			linear = append(linear, o)
		}
	}
	judgeRising(v, linear, "revision went back")
}

// judgeRising finds operations whose revision is lower than that of one that
// had ended when they began; a change takes a higher one.
func judgeRising(v *verdict, ops []*op, what string) {
	byCall := append([]*op{}, ops...)
	byReturn := append([]*op{}, ops...)
	sort.SliceStable(byCall, func(i, j int) bool { return byCall[i].Call < byCall[j].Call })
	sort.SliceStable(byReturn, func(i, j int) bool { return byReturn[i].Return < byReturn[j].Return })
	var high *op
	ended := 0
	for _, o := range byCall {
		for ; ended < len(byReturn) && byReturn[ended].Return < o.Call; ended++ {
			if high == nil || byReturn[ended].Revision > high.Revision {
				high = byReturn[ended]
			}
		}
		if high == nil {
			continue
		}
		if o.Revision < high.Revision || (o.changed() && o.Revision == high.Revision) {
			v.find("real-time", "%s: %v, although before it: %v", what, o, high)
		}
	}
}

// judgeSameReplica asks that one process never shows an older state than it
// showed before, not even to those who said that stale is good enough. (Writes
// are answered as of the state of the leader.)
func judgeSameReplica(v *verdict, ops []*op) {
	type process struct{ replica, life int }
	lives := map[process][]*op{}
	for _, o := range ops {
		if o.Outcome == decided && o.Life != 0 && !o.write() {
			p := process{o.Replica, o.Life}
			lives[p] = append(lives[p], o)
		}
	}
	for _, seen := range lives {
		judgeRising(v, seen, "the same replica went back")
	}
}

// judgeAccount counts: every revision is the change of a write that was
// acknowledged, or of one whose answer was lost. A write that was applied twice
// or a refused one that was applied leaves a revision that nobody explains.
func judgeAccount(v *verdict, ops []*op, end ending) {
	if end.Revision == 0 {
		return
	}
	var acknowledged, lost, high uint64
	for _, o := range ops {
		switch {
		case o.changed():
			acknowledged++
		case o.write() && o.Outcome == unknown:
			lost++
		}
		if o.Revision > high {
			high = o.Revision
		}
	}
	if high > end.Revision {
		v.find("revision", "the cluster ended at revision %d, but %d was seen", end.Revision, high)
	}
	if acknowledged > end.Revision || end.Revision > acknowledged+lost {
		v.find("account", "%d changes were acknowledged and %d may have been made, but the registry "+
			"counts %d", acknowledged, lost, end.Revision)
	}
}
