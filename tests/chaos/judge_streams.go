package main

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
)

const forever = math.MaxInt64

// What streams told has to be the log: each of them without gap, order or
// repetition of its own, all of them the same, and the same as the answers.

// tales are what streams told of one revision in one environment.
type tales struct {
	env      uint64
	revision uint64
}

// replay is a client that keeps a copy by a stream.
type replay struct {
	c       *chronicle
	s       *stream
	copy    map[string]holder
	began   bool // it was synced once
	pending []event
	at      uint64 // the id of the last event that has one
	covered []span // of revisions, From exclusive: all events of these came
}

// annals are the log as streams told it.
type annals struct {
	c      *chronicle
	told   map[tales][]event
	gone   map[tales][]string          // names that went with a node
	left   map[tales]map[string]change // what each name was left with
	owners map[origin]tales            // where an owner was put
}

func splitKey(key string) (env uint64, name string) {
	number, name, _ := strings.Cut(key, "/")
	env, _ = strconv.ParseUint(number, 10, 64)
	return env, name
}

func judgeStreams(c *chronicle, end ending) {
	a := &annals{c: c, told: map[tales][]event{}, gone: map[tales][]string{},
		left: map[tales]map[string]change{}, owners: map[origin]tales{}}
	covered := map[uint64][]span{}
	var all []*replay
	for _, s := range end.Streams {
		p := &replay{c: c, s: s, copy: map[string]holder{}}
		for _, e := range s.Events {
			p.take(a, e)
		}
		covered[s.Env] = append(covered[s.Env], p.covered...)
		all = append(all, p)
	}
	a.chronicle()
	a.judgeSilence(covered)
	c.sort()
	for _, p := range all {
		p.judgeEnd()
	}
}

func (p *replay) find(format string, a ...interface{}) {
	p.c.v.find("watch", "stream %d of environment %d at %d: %s", p.s.Number, p.s.Env, p.at,
		fmt.Sprintf(format, a...))
}

// take gathers events up to one with an id: what comes before is not whole.
func (p *replay) take(a *annals, e event) {
	if e.Type == eventLost {
		p.pending = nil
		return
	}
	p.pending = append(p.pending, e)
	if !e.HasID {
		return
	}
	events := p.pending
	p.pending = nil
	switch {
	case e.Type == eventSynced:
		p.begin(events)
	case !p.began:
		p.find("%v before it was synced", e)
	case e.Type == eventBookmark:
		p.advance(e)
	default:
		p.apply(a, events)
	}
}

// begin takes the present entries, and what changed while they were sent.
func (p *replay) begin(events []event) {
	first := 0
	for i, e := range events {
		if e.Type == eventReset {
			first = i + 1
		}
	}
	synced := events[len(events)-1]
	if p.began && first == 0 {
		p.find("synced again, without a reset")
	}
	if synced.ID != synced.Entry.Revision || synced.ID < p.at {
		p.find("synced at %d with id %d", synced.Entry.Revision, synced.ID)
	}
	p.copy, p.began, p.at = map[string]holder{}, true, synced.ID
	for _, e := range events[first : len(events)-1] {
		if e.Entry.Revision > synced.ID {
			p.find("%v before it was synced at %d", e, synced.ID)
		}
		p.change(e)
	}
	for name, h := range p.copy {
		key := keyOf(p.s.Env, name)
		p.c.judgeOwner(key, h, forever, synced)
		p.c.take(key, change{h.Revision, true, h}, p.c.writers[h.origin()], synced)
	}
}

// advance is for a bookmark: nothing happened up to here.
func (p *replay) advance(e event) {
	if e.ID != e.Entry.Revision || e.ID < p.at {
		p.find("a bookmark of %d with id %d", e.Entry.Revision, e.ID)
	}
	p.cover(e.ID)
}

func (p *replay) cover(revision uint64) {
	p.covered = append(p.covered, span{int64(p.at), int64(revision)})
	p.at = revision
}

// apply takes all events of one revision.
func (p *replay) apply(a *annals, events []event) {
	revision := events[len(events)-1].ID
	if revision <= p.at {
		p.find("revision %d comes again, or late", revision)
		return
	}
	for _, e := range events {
		if e.Entry.Revision != revision {
			p.find("%v among the events of revision %d", e, revision)
		}
		if e.Type == eventPut || e.Type == eventRemove {
			held, ok := p.copy[e.Name]
			if ok != e.Had || held != e.Previous {
				p.find("%v follows %v: something is missing", e, held)
			}
		}
		if gone := p.change(e); e.Type == eventNodeDown {
			a.gone[tales{p.s.Env, revision}] = gone
			if uint64(len(gone)) > e.Removed {
				p.find("%v, but it held %v", e, gone)
			}
		}
	}
	p.cover(revision)
	a.tell(p, tales{p.s.Env, revision}, events)
}

// change brings the copy up to date; the names that went with a node.
func (p *replay) change(e event) (gone []string) {
	switch e.Type {
	case eventPut:
		p.copy[e.Name] = e.Entry
	case eventRemove:
		delete(p.copy, e.Name)
	case eventNodeDown:
		for name, h := range p.copy {
			if h.Node == e.Node {
				delete(p.copy, name)
				gone = append(gone, name)
			}
		}
	}
	return gone
}

// judgeEnd holds the copy against what was found when all was over.
func (p *replay) judgeEnd() {
	if !p.began {
		p.find("it was never synced")
		return
	}
	for key, s := range p.c.stories {
		env, name := splitKey(key)
		if env != p.s.Env {
			continue
		}
		last := s.before(p.at)
		held, ok := p.copy[name]
		if ok && held != last.owner {
			p.find("ends with %s of %v, which had %v", key, held, last)
		}
		if !ok && last.held && !s.maybeRemoved {
			p.find("ends without %s, which had %v", key, last)
		}
	}
}

// tell notes what a stream told; another one may have told it already.
func (a *annals) tell(p *replay, t tales, events []event) {
	var plain []event
	for _, e := range events {
		e.HasID, e.ID = false, 0
		plain = append(plain, e)
	}
	known, ok := a.told[t]
	if !ok {
		a.told[t] = plain
		return
	}
	if len(known) != len(plain) {
		p.find("revision %d is %v, another stream said %v", t.revision, plain, known)
		return
	}
	for i := range plain {
		if plain[i] != known[i] {
			p.find("revision %d is %v, another stream said %v", t.revision, plain[i], known[i])
		}
	}
}

// chronicle adds what streams told to the stories.
func (a *annals) chronicle() {
	for t, events := range a.told {
		left := map[string]change{}
		for _, e := range events {
			a.note(t, e, left)
		}
		a.left[t] = left
		for name, n := range left {
			a.c.take(keyOf(t.env, name), n, a.c.writers[n.owner.origin()],
				fmt.Sprintf("a stream of environment %d", t.env))
		}
	}
}

// note takes what one event leaves of its names.
func (a *annals) note(t tales, e event, left map[string]change) {
	switch e.Type {
	case eventPut:
		a.c.judgeOwner(keyOf(t.env, e.Name), e.Entry, forever, e)
		if was, ok := a.owners[e.Entry.origin()]; ok {
			a.c.v.find("twice", "%d.%d is put at revision %d and at %d: %v", e.Entry.Node,
				e.Entry.Process, was.revision, t.revision, a.c.writers[e.Entry.origin()])
		}
		a.owners[e.Entry.origin()] = t
		left[e.Name] = change{t.revision, true, e.Entry}
	case eventRemove:
		left[e.Name] = change{revision: t.revision}
	case eventNodeDown:
		for _, name := range a.gone[t] {
			left[name] = change{revision: t.revision}
		}
	}
}

// judgeSilence finds changes that are proven by answers, and that streams that
// told all around them left out.
func (a *annals) judgeSilence(covered map[uint64][]span) {
	merged := map[uint64][]span{}
	for env, spans := range covered {
		merged[env] = merge(spans)
	}
	for revision, changes := range a.c.at {
		for key, n := range changes {
			env, name := splitKey(key)
			if _, ok := a.left[tales{env, revision}][name]; !ok && within(merged[env], revision) {
				a.c.v.find("watch", "no stream of environment %d told of revision %d: %s %v", env,
					revision, key, n)
			}
		}
	}
}

// merge joins spans that meet.
func merge(spans []span) []span {
	sort.Slice(spans, func(i, j int) bool { return spans[i].From < spans[j].From })
	var all []span
	for _, s := range spans {
		if n := len(all); n > 0 && s.From <= all[n-1].To {
			if s.To > all[n-1].To {
				all[n-1].To = s.To
			}
			continue
		}
		all = append(all, s)
	}
	return all
}

// within tells whether a revision is in one of merged spans.
func within(spans []span, revision uint64) bool {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].To >= int64(revision) })
	return i < len(spans) && spans[i].From < int64(revision)
}
