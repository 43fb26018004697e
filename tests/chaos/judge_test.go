package main

import (
	"testing"
	"time"
)

// A little language for histories: each test is one name's, or several names',
// operations and the kinds of findings they must lead to.

func at(o op, call, ret int64) *op {
	o.Env, o.Call, o.Return = 1, call*1000, ret*1000
	if o.Name == "" {
		o.Name = "n"
	}
	if o.Outcome == "" {
		o.Outcome = decided
	}
	if o.Replica == 0 {
		o.Replica, o.By, o.Life = 1, 1, 1
	}
	return &o
}

func own(process, revision uint64) holder { return holder{1, process, revision} }

func put(process, revision uint64, status int) op {
	return op{Kind: opPut, New: own(process, 0), heard: heard{Status: status, Found: true,
		Entry: own(process, revision), Revision: revision}}
}

func lostPut(process uint64) op {
	return op{Kind: opPut, New: own(process, 0), heard: heard{Outcome: unknown}}
}

func get(process, revision, asOf uint64) op {
	return op{Kind: opGet, heard: heard{Status: 200, Found: true, Entry: own(process, revision),
		Revision: asOf}}
}

func miss(asOf uint64) op { return op{Kind: opGet, heard: heard{Status: 404, Revision: asOf}} }

func remove(process, revision, asOf uint64) op {
	return op{Kind: opRemove, heard: heard{Status: 200, Found: true, Entry: own(process, revision),
		Revision: asOf}}
}

func with(o op, change func(*op)) op {
	change(&o)
	return o
}

func as(k kind, o op) op { return with(o, func(o *op) { o.Kind = k }) }

type scene struct {
	what  string
	ops   []*op
	end   uint64
	finds []string
}

var cases = []scene{
	{"a plain story", []*op{at(put(1, 1, 201), 0, 1), at(get(1, 1, 1), 2, 3),
		at(put(2, 2, 200), 4, 5), at(remove(2, 2, 3), 6, 7), at(miss(3), 8, 9)}, 3, nil},
	{"a look-up beside a put sees either", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 9),
		at(get(1, 1, 1), 3, 4), at(get(2, 2, 2), 5, 6)}, 2, nil},
	{"but not first the new and then the old", []*op{at(put(1, 1, 201), 0, 1),
		at(put(2, 2, 200), 2, 9), at(get(2, 2, 2), 3, 4), at(get(1, 1, 1), 5, 6)}, 2,
		[]string{"linearizability", "real-time"}},
	{"an old look-up", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(get(1, 1, 1), 4, 5)}, 2, []string{"linearizability", "real-time"}},
	{"an old look-up that claims to be new", []*op{at(put(1, 1, 201), 0, 1),
		at(put(2, 2, 200), 2, 3), at(get(1, 1, 2), 4, 5)}, 2,
		[]string{"linearizability", "revision"}},
	{"stale may be old", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(as(opStale, get(1, 1, 1)), 4, 5)}, 2, nil},
	{"but not lie about its age", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(as(opStale, get(1, 1, 2)), 4, 5)}, 2, []string{"revision"}},
	{"nor go back on one replica", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(as(opStale, get(2, 2, 2)), 4, 5), at(as(opStale, get(1, 1, 1)), 6, 7)}, 2,
		[]string{"real-time"}},
	{"at_least is heeded", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(with(as(opAtLeast, get(1, 1, 1)), func(o *op) { o.AtLeast = 2 }), 4, 5)}, 2,
		[]string{"revision"}},
	{"an acknowledged put is lost", []*op{at(put(1, 1, 201), 0, 1), at(miss(1), 2, 3)}, 1,
		[]string{"linearizability", "revision"}},
	{"a lost answer: applied", []*op{at(lostPut(1), 0, 1), at(get(1, 1, 1), 9, 10)}, 1, nil},
	{"a lost answer: not applied", []*op{at(lostPut(1), 0, 1), at(miss(0), 9, 10)}, 0, nil},
	{"a lost answer: applied late", []*op{at(lostPut(1), 0, 1), at(put(2, 1, 201), 2, 3),
		at(get(2, 1, 1), 4, 5), at(get(1, 2, 2), 6, 7)}, 2, nil},
	{"a lost answer: applied, and undone by itself", []*op{at(lostPut(1), 0, 1),
		at(get(1, 1, 1), 2, 3), at(miss(1), 4, 5)}, 1, []string{"linearizability", "revision"}},
	{"what was refused is there", []*op{
		at(op{Kind: opPut, New: own(1, 0), heard: heard{Outcome: refused, Status: 503}}, 0, 1),
		at(get(1, 1, 1), 2, 3)}, 1, []string{"linearizability", "refused", "account"}},
	{"out of nowhere", []*op{at(get(7, 1, 1), 2, 3)}, 1,
		[]string{"linearizability", "phantom", "account"}},
	{"applied twice, seen", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(get(1, 3, 3), 4, 5)}, 3, []string{"linearizability", "account"}},
	{"applied twice, only counted", []*op{at(put(1, 1, 201), 0, 1), at(remove(1, 1, 2), 2, 3)}, 3,
		[]string{"account"}},
	{"two changes of one revision", []*op{at(put(1, 1, 201), 0, 1),
		at(with(put(2, 1, 201), func(o *op) { o.Name = "m" }), 0, 1)}, 1,
		[]string{"revision", "account"}},
	{"put-if-absent wins twice", []*op{at(as(opPutAbsent, put(1, 1, 201)), 0, 1),
		at(as(opPutAbsent, put(2, 2, 201)), 2, 3)}, 2, []string{"linearizability"}},
	{"put-if-absent shows who is in the way", []*op{at(put(1, 1, 201), 0, 1),
		at(op{Kind: opPutAbsent, New: own(2, 0), heard: heard{Status: 412, Found: true,
			Entry: own(1, 1), Revision: 1}}, 2, 3)}, 1, nil},
	{"if-match was not met, and passed", []*op{at(put(1, 1, 201), 0, 1), at(put(2, 2, 200), 2, 3),
		at(with(as(opPutMatch, put(3, 3, 200)), func(o *op) { o.Expect = own(1, 1) }), 4, 5)}, 3,
		[]string{"linearizability"}},
	{"if-match was met, and refused", []*op{at(put(1, 1, 201), 0, 1),
		at(op{Kind: opPutMatch, New: own(2, 0), Expect: own(1, 1), heard: heard{Status: 412,
			Found: true, Entry: own(1, 1), Revision: 1}}, 2, 3)}, 1, []string{"linearizability"}},
	{"a guard lets the wrong one go", []*op{at(put(1, 1, 201), 0, 1),
		at(with(as(opRemoveOwner, remove(1, 1, 2)), func(o *op) { o.Expect = own(9, 0) }), 2, 3)}, 2,
		[]string{"linearizability"}},
	{"the answer of a removal is lost", []*op{at(put(1, 1, 201), 0, 1),
		at(op{Kind: opRemove, heard: heard{Outcome: unknown}}, 2, 3), at(miss(2), 4, 5)}, 2, nil},
	{"across names nobody goes back", []*op{at(put(1, 5, 201), 0, 1),
		at(with(put(2, 4, 201), func(o *op) { o.Name = "m" }), 2, 3)}, 0, []string{"real-time"}},
}

func TestJudge(t *testing.T) {
	for _, c := range cases {
		c.judge(t, ending{Revision: c.end})
	}
}

// judge demands the kinds of findings that the case says, and no others.
func (c scene) judge(t *testing.T, end ending) {
	v := judge(c.ops, end, "")
	wanted := map[string]bool{}
	for _, kind := range c.finds {
		wanted[kind] = true
		if v.counts[kind] == 0 {
			t.Errorf("%s: no finding %s, but %v", c.what, kind, v.findings)
		}
	}
	for kind := range v.counts {
		if !wanted[kind] {
			t.Errorf("%s: %v", c.what, v.findings)
		}
	}
}

func TestPlanComesFromTheSeed(t *testing.T) {
	kinds, err := selectFaults("all")
	if err != nil {
		t.Fatal(err)
	}
	a, b := plan(7, time.Minute, kinds), plan(7, time.Minute, kinds)
	if len(a) < faultsPerMinuteMin || len(a) != len(b) {
		t.Fatalf("%d and %d faults", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("fault %d differs", i)
		}
	}
	if _, err := selectFaults("kill,nonsense"); err == nil {
		t.Error("an unknown fault was taken")
	}
}

// The reset that the switch makes has to be one that a kernel believes.
func TestReset(t *testing.T) {
	frame := make([]byte, 54)
	copy(frame, []byte{2, 0, 0, 0, 0x77, 2, 2, 0, 0, 0, 0x77, 1, 8, 0, 0x45})
	frame[17], frame[23] = 40, 6
	copy(frame[26:], []byte{10, 77, 0, 1, 10, 77, 0, 2})
	copy(frame[34:], []byte{0x90, 0, 0x1b, 0xbd, 0, 0, 0, 9, 0, 0, 0, 0, 5 << 4, 2})
	r := resetFor(frame)
	if r == nil {
		t.Fatal("no reset for a SYN")
	}
	if checksum(r[14:34], 0) != 0 {
		t.Error("the checksum of the IP header is wrong")
	}
	pseudo := uint32(26)
	for i := 26; i < 34; i += 2 {
		pseudo += uint32(r[i])<<8 | uint32(r[i+1])
	}
	if checksum(r[34:54], pseudo) != 0 {
		t.Error("the checksum of the TCP header is wrong")
	}
	if r[5] != 1 || r[47] != 4|16 || r[45] != 10 {
		t.Errorf("not the answer to a SYN with sequence number 9: % x", r)
	}
	if resetFor(r) != nil {
		t.Error("a reset is answered with a reset")
	}
}
