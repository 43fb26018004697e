package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
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
	opBatch       kind = "batch"        // of items, all or none
	opList        kind = "list"         // one page of a room's names
	opNodeUp      kind = "node_up"      // a lease is taken
	opBeat        kind = "heartbeat"    // and renewed
	opNodeDown    kind = "node_down"    // and given up
	opExpire      kind = "expire"       // and runs out: nobody asks for it, the judge makes it up
	opClaim       kind = "claim"
	opConfirm     kind = "confirm"
	opAbort       kind = "abort"
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

type guard string

const (
	noGuard    guard = ""
	ifAbsent   guard = "absent"
	ifRevision guard = "revision"
	ifOwner    guard = "owner"
)

// item is what is to be done with one name: the only one of an operation, one
// of a batch, or one that a list is about.
type item struct {
	Kind   kind   `json:"kind"` // opGet, opPut or opRemove
	Name   string `json:"name"`
	New    holder `json:"new,omitempty"`
	Guard  guard  `json:"guard,omitempty"`
	Expect holder `json:"expect,omitempty"` // by the guard

	at int // which name of its room it is, while that is judged
}

// result is what an answer says of one name.
type result struct {
	Status int    `json:"status"`
	Found  bool   `json:"found,omitempty"`
	Entry  holder `json:"entry"`
}

// heard is what an answer says.
type heard struct {
	Outcome outcome `json:"outcome"`
	Status  int     `json:"status,omitempty"` // 0: no answer
	Code    string  `json:"code,omitempty"`
	// The entry in the answer: looked up, written, removed or in the way.
	Found     bool     `json:"found,omitempty"`
	Entry     holder   `json:"entry"`
	Revision  uint64   `json:"at_revision,omitempty"` // that the answer reflects
	Results   []result `json:"results,omitempty"`     // of Items, as far as a list's page reaches
	RefusedAt int      `json:"refused_at,omitempty"`  // which item refused the batch
	Reason    string   `json:"reason,omitempty"`      // and why
	Removed   uint64   `json:"removed,omitempty"`     // names that went with a node
	Claim     string   `json:"claim,omitempty"`       // that was granted
	Next      string   `json:"next,omitempty"`        // of a list: where the next page begins
	Replayed  bool     `json:"replayed,omitempty"`    // an earlier outcome of the same key
	Why       string   `json:"why,omitempty"`         // of what is not decided
}

// op is one operation of a client: what it asked, when, and what it heard. With
// a key it may have been sent several times, through several replicas; Call is
// that of the first, Return that of the last, and the answer that of the last.
type op struct {
	Client   int    `json:"client"`
	Kind     kind   `json:"kind"`
	Env      uint64 `json:"env"`
	Name     string `json:"name"`
	Room     string `json:"room,omitempty"`     // with which other names it is judged; "": alone
	New      holder `json:"new"`                // put: the owner to be; node: its id
	Expect   holder `json:"expect"`             // match: the entry, owner: the guard
	AtLeast  uint64 `json:"at_least,omitempty"` // asked for
	Items    []item `json:"items,omitempty"`    // batch, list
	After    string `json:"after,omitempty"`    // list: where the page begins, as the last one said
	Limit    int    `json:"limit,omitempty"`    // list
	TTL      int64  `json:"ttl_ms,omitempty"`   // of a lease or claim
	Wait     int    `json:"wait_s,omitempty"`   // of a claim
	Ticket   string `json:"ticket,omitempty"`   // the claim to confirm or abort
	Key      string `json:"key,omitempty"`      // Idempotency-Key
	Mismatch bool   `json:"mismatch,omitempty"` // the key is of another request, on purpose
	Replica  int    `json:"replica"`            // that was asked first
	By       int    `json:"by,omitempty"`       // and last
	Tries    int    `json:"tries,omitempty"`
	Life     int    `json:"life"` // which process of the replica was asked
	Call     int64  `json:"call"` // ns since the run began
	Return   int64  `json:"return"`
	heard
	Replays []heard `json:"replays,omitempty"` // to the same request once more, after it was decided

	stale bool // a planted bug: what has to be linearizable is asked for as stale
	lease int  // which lease it gives or ends, while its room is judged
	at    int  // which name of its room it is about, likewise
}

// read tells whether it only looks.
func (o *op) read() bool {
	return o.Kind == opGet || o.Kind == opStale || o.Kind == opAtLeast || o.Kind == opList
}

// write tells whether it may change what names hold, or the revision.
func (o *op) write() bool {
	return !o.read() && o.Kind != opBeat && o.Kind != opClaim && o.Kind != opAbort
}

func (o *op) put() bool {
	return o.Kind == opPut || o.Kind == opPutAbsent || o.Kind == opPutMatch || o.Kind == opConfirm
}

func (o *op) remove() bool {
	return o.Kind == opRemove || o.Kind == opRemoveOwner || o.Kind == opRemoveMatch
}

// linear tells whether the operation has to fit into one order with all others.
func (o *op) linear() bool { return o.Kind != opStale && o.Kind != opAtLeast }

func (o *op) succeeded() bool {
	return o.Outcome == decided && (o.Status == 200 || o.Status == 201)
}

// changed tells whether the answer says that the registry was changed. That a
// node was taken down does not say whether it was up.
func (o *op) changed() bool {
	switch {
	case !o.succeeded() || o.Kind == opNodeDown:
		return false
	case o.Kind == opBatch:
		for i := range o.Results {
			if o.changedBy(i) {
				return true
			}
		}
		return false
	}
	return o.write()
}

// changedBy tells whether an item of a batch that was carried out changed its name.
func (o *op) changedBy(i int) bool {
	return o.Items[i].Kind != opGet && (o.Results[i].Status == 200 || o.Results[i].Status == 201)
}

func keyOf(env uint64, name string) string { return fmt.Sprintf("%d/%s", env, name) }

func (o *op) key() string { return keyOf(o.Env, o.Name) }

// room is what has to be judged together.
func (o *op) room() string {
	if o.Room != "" {
		return o.Room
	}
	return o.key()
}

// ofNode tells whether its names may go with their node.
func (o *op) ofNode() bool { return strings.HasPrefix(o.Room, "node/") }

// sole is the operation as an item: of those that are about one name.
func (o *op) sole() item {
	it := item{Kind: opGet, Name: o.Name, New: o.New, Expect: o.Expect, at: o.at}
	switch {
	case o.put():
		it.Kind = opPut
	case o.remove():
		it.Kind = opRemove
	}
	switch o.Kind {
	case opPutAbsent, opConfirm:
		it.Guard = ifAbsent
	case opPutMatch, opRemoveMatch:
		it.Guard = ifRevision
	case opRemoveOwner:
		it.Guard = ifOwner
	}
	return it
}

// wishes are the owners that it would register, and for what names.
func (o *op) wishes() []item {
	if o.put() {
		return []item{o.sole()}
	}
	var all []item
	for _, it := range o.Items {
		if it.Kind == opPut {
			all = append(all, it)
		}
	}
	return all
}

func (h holder) String() string { return fmt.Sprintf("%d.%d@%d", h.Node, h.Process, h.Revision) }

func (o *op) String() string {
	text := fmt.Sprintf("client %d via replica %d at %.3f-%.3f s: %s %s", o.Client, o.Replica,
		float64(o.Call)/1e9, float64(o.Return)/1e9, o.Kind, o.key())
	if o.put() {
		text += fmt.Sprintf(" to %d.%d", o.New.Node, o.New.Process)
	} else if o.New != (holder{}) {
		text += fmt.Sprintf(" of node %d", o.New.Node)
	}
	if o.Expect != (holder{}) {
		text += fmt.Sprintf(" if %v", o.Expect)
	}
	if o.Ticket != "" {
		text += " by claim " + o.Ticket
	}
	if o.Tries > 1 {
		text += fmt.Sprintf(" in %d tries, by replica %d,", o.Tries, o.By)
	}
	return text + " -> " + o.heard.String() + o.itemsText()
}

func (h heard) String() string {
	text := string(h.Outcome)
	if h.Status != 0 {
		text += fmt.Sprintf(" %d %s%s", h.Status, h.Code, h.Claim)
	}
	if h.Reason != "" {
		text += fmt.Sprintf(" %s at %d", h.Reason, h.RefusedAt)
	}
	if h.Found {
		text += " " + h.Entry.String()
	}
	if h.Outcome == decided {
		text += fmt.Sprintf(" as of %d", h.Revision)
	}
	return text
}

func (o *op) itemsText() string {
	text := ""
	for i, it := range o.Items {
		if o.Kind == opList && i >= len(o.Results) {
			break
		}
		text += fmt.Sprintf("; %s %s", it.Kind, it.Name)
		if it.Kind == opPut {
			text += fmt.Sprintf(" to %d.%d", it.New.Node, it.New.Process)
		}
		if it.Guard != noGuard {
			text += fmt.Sprintf(" if %s %v", it.Guard, it.Expect)
		}
		if i < len(o.Results) {
			text += fmt.Sprintf(" -> %d", o.Results[i].Status)
			if o.Results[i].Found {
				text += " " + o.Results[i].Entry.String()
			}
		}
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

// span is a stretch of the history's time.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// ending is what the run adds to the operations for the judge.
type ending struct {
	Revision uint64    `json:"final_revision"`    // of all replicas at the end; 0 not known
	Unquiet  []span    `json:"unquiet,omitempty"` // when faults struck, or nobody led
	Streams  []*stream `json:"streams,omitempty"`
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
