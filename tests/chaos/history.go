package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

type kind string

const (
	opGet         kind = "get"      // linearizable
	opStale       kind = "stale"    // ?consistency=stale
	opAtLeast     kind = "at_least" // ?at_least=
	opPut         kind = "put"
	opPutAbsent   kind = "put_absent"   // If-None-Match: *
	opPutMatch    kind = "put_match"    // If-Match
	opRemove      kind = "remove"       // whoever holds it
	opRemoveOwner kind = "remove_owner" // node_id and process_id as guard
	opRemoveMatch kind = "remove_match" // If-Match
)

type outcome string

const (
	decided outcome = "decided" // the registry said what happened
	refused outcome = "refused" // 503, or never sent: surely nothing happened
	unknown outcome = "unknown" // 504, or sent and not answered
)

// holder is a process that holds a name, since a revision.
type holder struct {
	Node     uint64 `json:"node"`
	Process  uint64 `json:"process"`
	Revision uint64 `json:"revision,omitempty"`
}

// op is one operation of a client: what it asked, when, and what it heard.
type op struct {
	Client  int     `json:"client"`
	Kind    kind    `json:"kind"`
	Env     uint64  `json:"env"`
	Name    string  `json:"name"`
	New     holder  `json:"new"`                // put: the owner to be
	Expect  holder  `json:"expect"`             // match: the entry, owner: the guard
	AtLeast uint64  `json:"at_least,omitempty"` // asked for
	Replica int     `json:"replica"`
	Life    int     `json:"life"` // which process of the replica was asked
	Call    int64   `json:"call"` // ns since the run began
	Return  int64   `json:"return"`
	Outcome outcome `json:"outcome"`
	Status  int     `json:"status,omitempty"` // 0: no answer
	Code    string  `json:"code,omitempty"`
	// The entry in the answer: looked up, written, removed or in the way.
	Found    bool   `json:"found,omitempty"`
	Entry    holder `json:"entry"`
	Revision uint64 `json:"at_revision,omitempty"` // that the answer reflects
	Why      string `json:"why,omitempty"`         // of what is not decided
}

func (o *op) write() bool {
	return o.Kind != opGet && o.Kind != opStale && o.Kind != opAtLeast
}

func (o *op) put() bool {
	return o.Kind == opPut || o.Kind == opPutAbsent || o.Kind == opPutMatch
}

// linear tells whether the operation has to fit into one order with all others.
func (o *op) linear() bool { return o.Kind != opStale && o.Kind != opAtLeast }

// changed tells whether the answer says that the registry was changed.
func (o *op) changed() bool {
	return o.Outcome == decided && o.write() && (o.Status == 200 || o.Status == 201)
}

func (o *op) key() string { return fmt.Sprintf("%d/%s", o.Env, o.Name) }

func (o *op) String() string {
	text := fmt.Sprintf("client %d via replica %d at %.3f-%.3f s: %s %s", o.Client, o.Replica,
		float64(o.Call)/1e9, float64(o.Return)/1e9, o.Kind, o.key())
	if o.put() {
		text += fmt.Sprintf(" to %d.%d", o.New.Node, o.New.Process)
	}
	if o.Expect != (holder{}) {
		text += fmt.Sprintf(" if %d.%d@%d", o.Expect.Node, o.Expect.Process, o.Expect.Revision)
	}
	text += " -> " + string(o.Outcome)
	if o.Status != 0 {
		text += fmt.Sprintf(" %d %s", o.Status, o.Code)
	}
	if o.Found {
		text += fmt.Sprintf(" %d.%d@%d", o.Entry.Node, o.Entry.Process, o.Entry.Revision)
	}
	if o.Outcome == decided {
		text += fmt.Sprintf(" as of %d", o.Revision)
	}
	return text
}

// history is all that clients saw, in the order in which they heard it.
type history struct {
	began time.Time

	mu  sync.Mutex
	ops []*op
}

func newHistory() *history { return &history{began: time.Now()} }

// now is the monotonic clock of the whole history, in ns.
func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(o *op) {
	h.mu.Lock()
	h.ops = append(h.ops, o)
	h.mu.Unlock()
}

// ending is what the run adds to the operations for the judge.
type ending struct {
	Revision uint64 `json:"final_revision"` // of all replicas at the end; 0 not known
}

func saveHistory(path string, ops []*op, end ending) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	err = e.Encode(end)
	for _, o := range ops {
		if err == nil {
			err = e.Encode(o)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func loadHistory(path string) (ops []*op, end ending, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, end, err
	}
	defer f.Close()
	d := json.NewDecoder(bufio.NewReader(f))
	if err := d.Decode(&end); err != nil {
		return nil, end, err
	}
	for d.More() {
		o := &op{}
		if err := d.Decode(o); err != nil {
			return nil, end, err
		}
		ops = append(ops, o)
	}
	return ops, end, nil
}
