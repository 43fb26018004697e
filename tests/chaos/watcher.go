package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	watchPause   = 80 * time.Millisecond
	watchTimeout = 400 * time.Millisecond
)

// state is what /api/cluster says about the replica that answers it.
type state struct {
	ID       int    `json:"id"`
	State    string `json:"state"`
	Leader   int    `json:"leader"`
	Term     uint64 `json:"term"`
	Applied  uint64 `json:"applied_index"`
	Revision uint64 `json:"revision"`
	Names    uint64 `json:"names"`
	Digest   string `json:"digest"`
	Ready    bool   `json:"ready"`
	Why      string `json:"why"`

	at time.Time
}

// same is what has to be equal where the applied index is.
type same struct {
	revision, names uint64
	digest          string
}

// watcher asks all replicas all the time, and compares: two with the same
// applied index hold the same, and a term has one leader.
type watcher struct {
	run *run

	mu      sync.Mutex
	last    []state // by replica id
	indexes map[uint64]same
	by      map[uint64]int // who said so first
	leaders map[uint64]int // by term
	led     uint64         // the highest term that had a leader
	calm    int64          // when that one was last seen to lead
	samples int
	met     int // samples of an index that was known already
}

func newWatcher(r *run) *watcher {
	return &watcher{run: r, last: make([]state, r.o.replicas+1), indexes: map[uint64]same{},
		by: map[uint64]int{}, leaders: map[uint64]int{}}
}

func (w *watcher) watch(ctx context.Context, id int) {
	l := &link{address: w.run.lab.httpAddress(id), timeout: watchTimeout}
	defer l.close()
	for wait(ctx, watchPause) {
		if s, err := ask(l); err == nil {
			w.take(id, s)
		}
	}
}

func ask(l *link) (state, error) {
	var s state
	a, err := l.do(&request{method: "GET", target: "/api/cluster"})
	if err != nil {
		return s, err
	}
	if a.status != 200 {
		return s, fmt.Errorf("/api/cluster: status %d", a.status)
	}
	err = json.Unmarshal(a.body, &s)
	s.at = time.Now()
	return s, err
}

func (w *watcher) take(id int, s state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples++
	w.last[id] = s
	if s.ID != id {
		w.run.find("answer", "replica %d says that it is %d", id, s.ID)
	}
	if s.State == "leader" {
		if was, known := w.leaders[s.Term]; known && was != id {
			w.run.find("leaders", "replicas %d and %d both lead in term %d", was, id, s.Term)
		}
		w.leaders[s.Term] = id
		w.lead(s.Term)
	}
	has := same{s.Revision, s.Names, s.Digest}
	was, known := w.indexes[s.Applied]
	if !known {
		w.indexes[s.Applied], w.by[s.Applied] = has, id
		return
	}
	w.met++
	if was != has {
		w.run.find("digest", "at applied index %d replica %d has %v, replica %d had %v", s.Applied,
			id, has, w.by[s.Applied], was)
	}
}

// lead notes that a term has a leader. Between the last sight of the one before
// and this one there may have been none.
func (w *watcher) lead(term uint64) {
	now := w.run.history.now()
	if term > w.led {
		w.run.disturbed(w.calm, now)
		w.led = term
	}
	if term == w.led {
		w.calm = now
	}
}

// leader is the replica that most recently said that it leads in the highest
// term, 0 if none did.
func (w *watcher) leader() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	best, term := 0, uint64(0)
	for id, s := range w.last {
		if s.State == "leader" && s.Term >= term {
			best, term = id, s.Term
		}
	}
	return best
}

// term is the highest that any replica said it is in, last.
func (w *watcher) term() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	highest := uint64(0)
	for _, s := range w.last {
		if s.Term > highest {
			highest = s.Term
		}
	}
	return highest
}

func (w *watcher) leaderTerms() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.leaders)
}

// ready tells whether all replicas said, after `since`, that they are, and
// agree on their leader; if not, who does not and why.
func (w *watcher) ready(since time.Time) (bool, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	leader := 0
	for id, s := range w.last[1:] {
		id++
		switch {
		case s.at.Before(since):
			return false, fmt.Sprintf("replica %d does not answer", id)
		case !s.Ready:
			return false, fmt.Sprintf("replica %d is not ready: %s in term %d %s", id, s.State, s.Term,
				s.Why)
		case leader != 0 && s.Leader != leader:
			return false, fmt.Sprintf("replica %d follows %d, others %d", id, s.Leader, leader)
		}
		leader = s.Leader
	}
	return leader != 0, "no leader"
}

// awaitReady waits until all are ready and tells how long that took.
func (w *watcher) awaitReady(ctx context.Context, max time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		ok, why := w.ready(began)
		if ok {
			return time.Since(began), nil
		}
		if time.Since(began) > max {
			return 0, fmt.Errorf("after %v: %s", max, why)
		}
		if !wait(ctx, 10*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
}

// awaitEqual waits until all replicas have applied the same index; their
// digests were compared when they were taken. Returns the revision.
func (w *watcher) awaitEqual(ctx context.Context, max time.Duration) (uint64, error) {
	began := time.Now()
	for {
		w.mu.Lock()
		equal := true
		first := w.last[1]
		for _, s := range w.last[1:] {
			equal = equal && s.at.After(began) && s.Applied == first.Applied
		}
		w.mu.Unlock()
		if equal {
			return first.Revision, nil
		}
		if time.Since(began) > max {
			return 0, fmt.Errorf("replicas did not reach the same index within %v", max)
		}
		if !wait(ctx, 10*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
}
