package main

import "sort"

// The revision is one counter for all names, and each answer says as of which
// revision it speaks. So the answers, and what streams told, can be held
// against one story without any search: which change was made at which
// revision, and what each name held in between.

// sight is what an answer shows of one name, as of a revision.
type sight struct {
	key      string
	found    bool
	entry    holder
	revision uint64
}

// change is one step of a name's story.
type change struct {
	revision uint64
	held     bool
	owner    holder
}

type story struct {
	changes []change // by revision, those that are proven
	// Removals whose answer was lost, and a node's end, of which nobody is
	// told: the name may have become free where no answer says so.
	maybeRemoved bool
}

// sights are what the answer shows of what was there already: a change shows
// the state before it.
func (o *op) sights() []sight {
	before := o.Revision
	if o.changed() {
		before--
	}
	switch {
	case o.Outcome != decided || o.Kind == opBeat || o.Kind == opNodeUp || o.Kind == opNodeDown ||
		o.Kind == opAbort:
		return nil
	case o.Kind == opBatch && !o.succeeded():
		if !o.Found {
			return nil
		}
		return []sight{{keyOf(o.Env, o.Items[o.RefusedAt].Name), true, o.Entry, before}}
	case o.Kind == opBatch || o.Kind == opList:
		return o.sightsOfItems(before)
	case o.put() && o.succeeded(), o.Kind == opConfirm:
		return nil
	}
	return []sight{{o.key(), o.Found, o.Entry, before}}
}

// sightsOfItems leaves out what the batch itself made of a name.
func (o *op) sightsOfItems(before uint64) []sight {
	var all []sight
	touched := map[string]bool{}
	for i, s := range o.Results {
		it := &o.Items[i]
		if !touched[it.Name] && it.Kind != opPut {
			all = append(all, sight{keyOf(o.Env, it.Name), s.Found, s.Entry, before})
		}
		if o.Kind == opBatch && o.changedBy(i) {
			touched[it.Name] = true
		}
	}
	return all
}

// deeds are the changes that the answer claims, by name.
func (o *op) deeds() map[string]change {
	all := map[string]change{}
	switch {
	case !o.changed() || o.Kind == opNodeUp:
	case o.Kind == opBatch:
		for i, it := range o.Items {
			if o.changedBy(i) {
				all[keyOf(o.Env, it.Name)] = change{o.Revision, it.Kind == opPut,
					holderOf(it.Kind == opPut, o.Results[i].Entry)}
			}
		}
	default:
		all[o.key()] = change{o.Revision, o.put(), holderOf(o.put(), o.Entry)}
	}
	return all
}

func holderOf(held bool, h holder) holder {
	if !held {
		return holder{}
	}
	return h
}

// chronicle is what is proven, of all names.
type chronicle struct {
	v       *verdict
	stories map[string]*story
	writers map[origin]*op               // who registered an owner
	at      map[uint64]map[string]change // by revision
	by      map[uint64]*op               // whose change it was, where that is known
}

type origin struct{ node, process uint64 }

func (h holder) origin() origin { return origin{h.Node, h.Process} }

func judgeRevisions(v *verdict, ops []*op, end ending) {
	c := &chronicle{v: v, stories: map[string]*story{}, writers: map[origin]*op{},
		at: map[uint64]map[string]change{}, by: map[uint64]*op{}}
	for _, o := range ops {
		for _, it := range o.wishes() {
			c.writers[it.New.origin()] = o
		}
	}
	c.tell(ops)
	judgeStreams(c, end)
	c.sort()
	for _, o := range ops {
		for _, s := range o.sights() {
			c.hold(o, s)
		}
		if o.Outcome == decided && o.Kind == opAtLeast && o.Revision < o.AtLeast {
			v.find("revision", "older than was asked for: %v", o)
		}
	}
	c.judgeOwners(ops)
	judgeReplays(v, ops)
	judgeRealTime(v, ops)
	judgeSameReplica(v, ops)
	judgeAccount(v, ops, end)
}

func (c *chronicle) story(key string) *story {
	s := c.stories[key]
	if s == nil {
		s = &story{}
		c.stories[key] = s
	}
	return s
}

// take notes a change that `what` proves, made by an operation if that is known,
// and finds revisions of which there are two tales.
func (c *chronicle) take(key string, n change, by *op, what interface{}) {
	known := c.at[n.revision]
	if known == nil {
		known = map[string]change{}
		c.at[n.revision] = known
	}
	if was, ok := known[key]; ok && was != n {
		c.v.find("revision", "revision %d is of two changes of %s: %v %v, and by %v", n.revision, key,
			was.held, was.owner, what)
		return
	} else if !ok {
		known[key] = n
		s := c.story(key)
		s.changes = append(s.changes, n)
	}
	if by == nil {
		return
	}
	if was := c.by[n.revision]; was != nil && was != by {
		c.v.find("revision", "revision %d is of two changes: %v, and %v", n.revision, was, by)
		return
	}
	c.by[n.revision] = by
}

// tell collects every change that an answer proves.
func (c *chronicle) tell(ops []*op) {
	for _, o := range ops {
		if o.put() && o.changed() && o.Entry.Revision != o.Revision {
			c.v.find("revision", "the entry is of another revision than the answer: %v", o)
		}
		for key, n := range o.deeds() {
			c.take(key, n, o, o)
		}
		for _, s := range o.sights() {
			c.story(s.key)
			if s.found {
				c.take(s.key, change{s.entry.Revision, true, s.entry}, c.writers[s.entry.origin()], o)
			}
		}
		lost := o.Outcome == unknown && o.write()
		if (lost && o.remove()) || o.ofNode() {
			c.story(o.key()).maybeRemoved = true
		}
		for _, it := range o.Items {
			if (lost && it.Kind == opRemove) || o.ofNode() {
				c.story(keyOf(o.Env, it.Name)).maybeRemoved = true
			}
		}
	}
}

func (c *chronicle) sort() {
	for _, s := range c.stories {
		sort.Slice(s.changes, func(i, j int) bool {
			return s.changes[i].revision < s.changes[j].revision
		})
	}
}

// before is the last that is proven of the name up to a revision.
func (s *story) before(revision uint64) change {
	i := sort.Search(len(s.changes), func(i int) bool { return s.changes[i].revision > revision })
	if i == 0 {
		return change{}
	}
	return s.changes[i-1]
}

// hold holds what one answer shows, stale ones included, against the story of
// the name: it must have been current at the revision it names.
func (c *chronicle) hold(o *op, s sight) {
	story := c.story(s.key)
	last := story.before(s.revision)
	switch {
	case s.found && last.revision != s.entry.Revision:
		c.v.find("revision", "shows an entry that had been replaced at revision %d: %v", last.revision,
			o)
	case !s.found && last.held && !story.maybeRemoved:
		c.v.find("revision", "does not show %v: %v", last.owner, o)
	}
}

// judgeOwners finds owners out of nowhere: each that is shown must have been
// registered for this name, by a write that was not refused.
func (c *chronicle) judgeOwners(ops []*op) {
	for _, o := range ops {
		for _, s := range o.sights() {
			if s.found {
				c.judgeOwner(s.key, s.entry, o.Return, o)
			}
		}
	}
}

func (c *chronicle) judgeOwner(key string, owner holder, seen int64, what interface{}) {
	w := c.writers[owner.origin()]
	if w == nil || !w.wantsTo(key, owner) {
		c.v.find("phantom", "shows an owner that nobody registered: %v", what)
		return
	}
	switch {
	case w.Outcome == refused || (w.Outcome == decided && !w.changed()):
		c.v.find("refused", "shows what was refused by: %v; seen by: %v", w, what)
	case w.Call > seen:
		c.v.find("phantom", "shows what was registered only later: %v", what)
	}
}

func (o *op) wantsTo(key string, owner holder) bool {
	for _, it := range o.wishes() {
		if keyOf(o.Env, it.Name) == key && it.New.origin() == owner.origin() {
			return true
		}
	}
	return false
}

// judgeReplays asks that a key has one outcome: what was answered is answered
// again, and as a repetition.
func judgeReplays(v *verdict, ops []*op) {
	for _, o := range ops {
		for _, again := range o.Replays {
			if again.String() != o.heard.String() || !sameResults(again.Results, o.Results) {
				v.find("key", "the same request with the same key has another outcome: %v; then: %v", o,
					again)
			} else if !again.Replayed {
				v.find("key", "carried out again, and not recognized: %v", o)
			}
		}
	}
}

func sameResults(a, b []result) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// judgeRealTime asks across all names: who begins after another has ended sees
// no older registry. Together with porcupine's verdict on each room this is
// strict serializability.
func judgeRealTime(v *verdict, ops []*op) {
	var linear []*op
	for _, o := range ops {
		if o.linear() && o.Outcome == decided && o.Kind != opBeat {
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
		if o.Outcome == decided && o.Life != 0 && o.read() {
			p := process{o.Replica, o.Life}
			lives[p] = append(lives[p], o)
		}
	}
	for _, seen := range lives {
		judgeRising(v, seen, "the same replica went back")
	}
}

// judgeAccount counts: every revision is the change of a write that was
// acknowledged, or of one whose answer was lost, or the end of a lease. A write
// that was applied twice or a refused one that was applied leaves a revision
// that nobody explains.
func judgeAccount(v *verdict, ops []*op, end ending) {
	if end.Revision == 0 {
		return
	}
	var acknowledged, possible, high uint64
	for _, o := range ops {
		switch {
		case o.changed():
			acknowledged++
		case o.write() && (o.Outcome == unknown || (o.succeeded() && o.Kind == opNodeDown)):
			possible++
		}
		if o.Kind == opNodeUp && o.Outcome != refused {
			possible++ // it ends
		}
		if o.Revision > high {
			high = o.Revision
		}
	}
	if high > end.Revision {
		v.find("revision", "the cluster ended at revision %d, but %d was seen", end.Revision, high)
	}
	if acknowledged > end.Revision || end.Revision > acknowledged+possible {
		v.find("account", "%d changes were acknowledged and %d may have been made, but the registry "+
			"counts %d", acknowledged, possible, end.Revision)
	}
}
