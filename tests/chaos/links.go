package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// link scenarios are single faults of a known length, each with a bound on
// what it may cost, where the random plan only asks that nothing is wrong.
type linkScenario struct {
	name      string
	leader    bool // the victim leads when it strikes
	cut       func(r *rule, victim, other int)
	strikesMs int // at full length
	judge     func(r *run, s *struck)
}

const (
	linkCalm      = 6 * time.Second // before the cut, to compare with
	linkAfter     = 4 * time.Second // after healing
	serveAgainMax = 2 * time.Second // from healing to the victim's first answers
	settleMin     = 2 * time.Second // of the calm stretch are not counted
	rateMin       = 0.75            // of the calm rate, while another is cut off
	latencyFactor = 2.0             // of the calm 99th percentile ...
	latencySlack  = 30 * time.Millisecond
	linkSampleMin = 100 // operations, for a percentile to mean something
)

var linkScenarios = []linkScenario{
	{"follower-partition", false, bothWaysBetween, 30000, (*run).judgeReturn},
	{"leader-partition", true, bothWaysBetween, 30000, (*run).judgeReturn},
	{"inbound-cut", false, towardsVictim, 60000, (*run).judgeOthers},
}

func bothWaysBetween(r *rule, victim, other int) { r.bothWays(victim, other) }
func towardsVictim(r *rule, victim, other int)   { r.oneWay(other, victim) }

// struck is one cut: who, from when to when on the history's clock.
type struck struct {
	scenario   *linkScenario
	victim     int
	term       uint64 // of the cluster before it
	terms      int    // that had a leader before it
	began, end int64
}

// linkRun carries out each scenario in a cluster of its own. o.seconds shortens
// the cuts: it is the length of the longest.
func linkRun(ctx context.Context, o *options) int {
	if o.netns != "yes" {
		fmt.Println("chaos: SKIPPED links: there are no network namespaces")
		return exitPass
	}
	longest := 0
	for i := range linkScenarios {
		if ms := linkScenarios[i].strikesMs; ms > longest {
			longest = ms
		}
	}
	status := exitPass
	for i := range linkScenarios {
		s := &linkScenarios[i]
		mine := *o
		mine.faults, mine.scenario = "none", s
		mine.cutFor = time.Duration(s.strikesMs) * time.Millisecond *
			time.Duration(o.seconds*1000) / time.Duration(longest)
		mine.seconds = int((linkCalm + mine.cutFor + linkAfter) / time.Second)
		mine.dir = filepath.Join(o.dir, s.name)
		if err := os.MkdirAll(mine.dir, 0o755); err != nil {
			fmt.Printf("chaos: FAIL: %v\n", err)
			return exitFail
		}
		r, err := runOnce(ctx, &mine)
		if err != nil {
			fmt.Printf("chaos: FAIL: %s: %v; logs are in %s\n", s.name, err, mine.dir)
			return exitFail
		}
		fmt.Printf("chaos: link %s: cut_ms=%d %s\n", s.name, mine.cutFor.Milliseconds(), r.measured)
		if code := r.report(&mine); code != exitPass {
			status = code
		}
	}
	return status
}

// strikeLink is the whole plan of a link scenario: calm, cut, healed.
func (r *run) strikeLink(ctx context.Context) {
	s := &struck{scenario: r.o.scenario}
	r.struck = s
	if !wait(ctx, linkCalm) {
		return
	}
	leader := r.watcher.leader()
	s.victim = leader
	if !s.scenario.leader {
		s.victim = 1 + leader%r.o.replicas
	}
	s.term, s.terms = r.watcher.term(), r.watcher.leaderTerms()
	cut := &rule{pairs: map[[2]int]bool{}, drop: true}
	for other := 1; other <= r.o.replicas; other++ {
		if other != s.victim {
			s.scenario.cut(cut, s.victim, other)
		}
	}
	r.note("%s: %d, for %v", s.scenario.name, s.victim, r.o.cutFor)
	s.began = r.history.now()
	r.lab.net.add(cut)
	wait(ctx, r.o.cutFor)
	r.lab.net.remove(cut)
	s.end = r.history.now()
	r.disturbed(s.began, s.end)
	r.nemesis.struck[s.scenario.name]++
	wait(ctx, linkAfter)
}

// judgeReturn: the victim answers linearizable reads and writes again soon.
func (r *run) judgeReturn(s *struck) {
	took := map[string]time.Duration{}
	served := 0
	for _, o := range r.history.ops {
		if o.By != s.victim || o.Outcome != decided || !o.linear() {
			continue
		}
		if o.Call > s.began+int64(time.Second) && o.Return < s.end {
			served++
		}
		what := "read"
		if o.write() {
			what = "write"
		}
		after := time.Duration(o.Return - s.end)
		if known, ok := took[what]; after >= 0 && (!ok || after < known) {
			took[what] = after
		}
	}
	for _, what := range []string{"read", "write"} {
		after, ok := took[what]
		if !ok || after > serveAgainMax {
			r.find("links", "replica %d answered no %s within %v of healing (%v)", s.victim, what,
				serveAgainMax, after)
		}
	}
	// One that was cut off from all others cannot know.
	if served > 0 {
		r.find("links", "replica %d decided %d operations while it was alone", s.victim, served)
	}
	r.measured = fmt.Sprintf("victim=%d read_again_ms=%d write_again_ms=%d", s.victim,
		took["read"].Milliseconds(), took["write"].Milliseconds())
}

// stretch is what clients of some replicas saw in a part of the run.
type stretch struct {
	perSecond  float64
	p99        time.Duration
	undecided  int
	operations int
}

// measure looks at the clients that always ask one replica, unless that is
// `victim`: the others lose time with it.
func (r *run) measure(victim int, from, to int64) stretch {
	var s stretch
	var took []time.Duration
	homes := r.o.replicas * clientsPerReplica
	for _, o := range r.history.ops {
		if o.Client > homes || o.Replica == victim || o.Call < from || o.Call >= to || o.Mismatch {
			continue // a key of another request is refused, as it has to be
		}
		s.operations++
		if o.Outcome != decided {
			s.undecided++
		}
		took = append(took, time.Duration(o.Return-o.Call))
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	if len(took) > 0 {
		s.p99 = took[len(took)*99/100]
	}
	s.perSecond = float64(s.operations) / (float64(to-from) / 1e9)
	return s
}

// judgeOthers: while one replica hears nobody the clients of the others notice
// nothing, and nobody stands for election, then or when it is healed.
func (r *run) judgeOthers(s *struck) {
	calm := r.measure(s.victim, s.began-int64(linkCalm-settleMin), s.began)
	cut := r.measure(s.victim, s.began, s.end)
	healed := r.measure(s.victim, s.end, s.end+int64(linkAfter))
	for _, part := range []stretch{calm, cut, healed} {
		if part.operations < linkSampleMin {
			r.find("harness", "only %d operations to judge by", part.operations)
		}
	}
	if n := cut.undecided + healed.undecided; n > 0 {
		r.find("links", "%d operations through the other replicas were not decided", n)
	}
	if cut.perSecond < rateMin*calm.perSecond {
		r.find("links", "the others' clients went from %.0f to %.0f operations/s", calm.perSecond,
			cut.perSecond)
	}
	if cut.p99 > time.Duration(latencyFactor*float64(calm.p99))+latencySlack {
		r.find("links", "the others' 99th percentile went from %v to %v", calm.p99, cut.p99)
	}
	if term, terms := r.watcher.term(), r.watcher.leaderTerms(); term != s.term || terms != s.terms {
		r.find("links", "the term went from %d to %d", s.term, term)
	}
	r.measured = fmt.Sprintf("victim=%d others_per_s=%.0f->%.0f others_p99_ms=%.1f->%.1f undecided=%d "+
		"term=%d->%d", s.victim, calm.perSecond, cut.perSecond, float64(calm.p99)/1e6,
		float64(cut.p99)/1e6, cut.undecided+healed.undecided, s.term, r.watcher.term())
}
