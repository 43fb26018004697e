package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	streamSilenceMax = 1500 * time.Millisecond // then another replica is asked
	streamHeldMax    = 6 * time.Second         // then one goes on elsewhere of its own accord
	streamPause      = 50 * time.Millisecond
	streamsEndMax    = 8 * time.Second // until all have what was written last
)

const (
	eventPut      = "put"
	eventRemove   = "remove"
	eventNodeDown = "node_down"
	eventSynced   = "synced"
	eventReset    = "reset"
	eventBookmark = "bookmark"
	eventLost     = "lost" // ours: the connection ended, whatever has no id comes again
)

// event is one of a stream.
type event struct {
	Type     string `json:"type"`
	HasID    bool   `json:"has_id,omitempty"`
	ID       uint64 `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Entry    holder `json:"entry"` // of a removal only the revision
	Had      bool   `json:"had,omitempty"`
	Previous holder `json:"previous"`
	Node     uint64 `json:"node,omitempty"`
	Removed  uint64 `json:"removed,omitempty"`
}

// stream follows one environment, on one replica after the other.
type stream struct {
	Env    uint64  `json:"env"`
	Number int     `json:"number"`
	Events []event `json:"events"`

	mu       sync.Mutex
	resumes  bool // it has a position
	position uint64
}

type eventJSON struct {
	entryJSON
	Previous *entryJSON `json:"previous"`
	Removed  uint64     `json:"removed"`
}

func (s *stream) take(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Events = append(s.Events, e)
	if e.HasID {
		s.resumes, s.position = true, e.ID
	}
}

func (s *stream) reached(revision uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position >= revision
}

// follow reads until the context ends.
func (s *stream) follow(ctx context.Context, r *run) {
	rng := rand.New(rand.NewSource(r.o.seed*1000 + int64(500+s.Number)))
	for replica := 1 + s.Number%r.o.replicas; ctx.Err() == nil; {
		held := time.Duration(rng.Int63n(int64(streamHeldMax)))
		if err := s.followOne(ctx, r, replica, held); err != nil {
			r.find("answer", "stream %d of replica %d: %v", s.Number, replica, err)
		}
		s.take(event{Type: eventLost})
		wait(ctx, streamPause)
		replica = 1 + rng.Intn(r.o.replicas)
	}
}

// followOne reads from one replica as long as that goes well. The error says
// what no sound replica sends.
func (s *stream) followOne(ctx context.Context, r *run, replica int, held time.Duration) error {
	conn, err := net.DialTimeout("tcp", r.lab.httpAddress(replica), clientTimeout)
	if err != nil {
		return nil
	}
	defer conn.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ctx.Done():
			conn.Close()
		case <-done:
		}
	}()
	request := &request{method: "GET", target: fmt.Sprintf("/api/watch?env_id=%d", s.Env)}
	if s.resumes {
		request.headers = [][2]string{{"Last-Event-ID", decimal(s.position)}}
	}
	conn.SetDeadline(time.Now().Add(streamSilenceMax))
	if _, err := conn.Write(request.bytes(r.lab.httpAddress(replica))); err != nil {
		return nil
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		if response.StatusCode != 503 {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}
	return s.read(r, conn, bufio.NewReader(response.Body), time.Now().Add(held))
}

func (s *stream) read(r *run, conn net.Conn, in *bufio.Reader, until time.Time) error {
	fields := map[string]string{}
	for {
		conn.SetDeadline(time.Now().Add(streamSilenceMax))
		line, err := in.ReadString('\n')
		if err != nil {
			return nil
		}
		line = strings.TrimSuffix(line, "\n")
		if line != "" {
			name, value, _ := strings.Cut(line, ": ")
			fields[name] = value
			continue
		}
		e, err := readEvent(fields, s.Env)
		if err != nil {
			return fmt.Errorf("%v: %v", fields, err)
		}
		fields = map[string]string{}
		if e.Type != "" && !r.plant.loses(&e) {
			s.take(e)
		}
		if e.HasID && time.Now().After(until) && r.streaming() {
			return nil
		}
	}
}

// readEvent understands one event; without a type it is one of those fields
// that stand alone.
func readEvent(fields map[string]string, env uint64) (event, error) {
	e := event{Type: fields["event"]}
	if e.Type == "" {
		return e, nil
	}
	if text, ok := fields["id"]; ok {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return e, fmt.Errorf("id %q", text)
		}
		e.HasID, e.ID = true, id
	}
	var data eventJSON
	if err := json.Unmarshal([]byte(fields["data"]), &data); err != nil {
		return e, err
	}
	e.Entry, e.Removed = data.holder(), data.Removed
	switch e.Type {
	case eventPut, eventRemove:
		if data.Name == nil || data.Env == nil || *data.Env != env {
			return e, fmt.Errorf("another environment")
		}
		e.Name = *data.Name
	case eventNodeDown:
		e.Node, e.Entry.Node = data.Node, 0
	case eventSynced, eventReset, eventBookmark:
	default:
		return e, fmt.Errorf("no such event")
	}
	if data.Previous != nil {
		e.Had, e.Previous = true, data.Previous.holder()
	}
	return e, nil
}

// --- All of them ------------------------------------------------------------------

// newStreams are one of each environment for each replica.
func (r *run) newStreams() []*stream {
	var all []*stream
	for i := 0; i < r.o.replicas; i++ {
		for env := uint64(1); env <= 2; env++ {
			all = append(all, &stream{Env: env, Number: i})
		}
	}
	return all
}

// streaming tells whether streams are to change replicas: not when the end is
// awaited.
func (r *run) streaming() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.ending
}

// awaitStreams writes a last name into each environment and waits until all
// streams have it.
func (r *run) awaitStreams(ctx context.Context, streams []*stream) error {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	deadline := time.Now().Add(streamsEndMax)
	w := r.newWorker(ctx, endClient, 0)
	defer w.close()
	for env := uint64(1); env <= 2; env++ {
		o, err := w.insist(op{Client: w.id, Kind: opPut, Env: env, Name: "chaos::end", Replica: 1,
			New: holder{Node: uint64(w.id), Process: nextProcess()}}, deadline)
		if err != nil {
			return err
		}
		for _, s := range streams {
			for s.Env == env && !s.reached(o.Revision) {
				if time.Now().After(deadline) || !wait(ctx, 5*time.Millisecond) {
					return fmt.Errorf("a stream of environment %d does not get to revision %d", env,
						o.Revision)
				}
			}
		}
	}
	return nil
}
