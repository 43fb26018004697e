package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// The registry's requests and answers.

type entryJSON struct {
	Node     uint64  `json:"node_id"`
	Process  uint64  `json:"process_id"`
	Name     *string `json:"name"`
	Env      *uint64 `json:"env_id"`
	Revision uint64  `json:"revision"`
}

type resultJSON struct {
	Status int        `json:"status"`
	Entry  *entryJSON `json:"entry"`
}

// answerJSON has the members of all answers, problems included.
type answerJSON struct {
	entryJSON
	Results []resultJSON `json:"results"`
	Entries []entryJSON  `json:"entries"`
	Next    string       `json:"next"`
	Claim   string       `json:"claim_id"`
	Removed uint64       `json:"removed"`
	TTL     int64        `json:"ttl_ms"`

	Code    string     `json:"code"`
	Current *entryJSON `json:"current"`
	Index   int        `json:"index"`
	Reason  string     `json:"reason"`
}

type opJSON struct {
	Op         kind    `json:"op"`
	Name       string  `json:"name"`
	Env        uint64  `json:"env_id"`
	Node       *uint64 `json:"node_id,omitempty"`
	Process    *uint64 `json:"process_id,omitempty"`
	IfAbsent   bool    `json:"if_absent,omitempty"`
	IfRevision *uint64 `json:"if_revision,omitempty"`
}

func quoteRevision(revision uint64) string {
	return `"` + strconv.FormatUint(revision, 10) + `"`
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func encode(v interface{}) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // all of it is ours
	}
	return body
}

// --- Requests -------------------------------------------------------------------

func (o *op) request() *request {
	var r *request
	switch o.Kind {
	case opBatch:
		// The key belongs to the environment of the query.
		r = &request{method: "POST", target: "/api/batch?env_id=" + decimal(o.Env), body: o.batchBody()}
	case opList:
		r = &request{method: "GET", target: o.listTarget()}
	case opNodeUp, opNodeDown, opBeat:
		r = o.nodeRequest()
	case opClaim, opConfirm, opAbort:
		r = o.claimRequest()
	default:
		r = o.nameRequest()
	}
	if o.Key != "" {
		r.headers = append(r.headers, [2]string{"Idempotency-Key", o.Key})
	}
	return r
}

func (o *op) target() string {
	q := url.Values{}
	q.Set("env_id", decimal(o.Env))
	switch {
	case o.Kind == opStale || o.stale:
		q.Set("consistency", "stale")
	case o.Kind == opAtLeast:
		q.Set("at_least", decimal(o.AtLeast))
	case o.Kind == opRemoveOwner:
		q.Set("node_id", decimal(o.Expect.Node))
		q.Set("process_id", decimal(o.Expect.Process))
	}
	return "/api/registry/" + url.PathEscape(o.Name) + "?" + q.Encode()
}

func (o *op) nameRequest() *request {
	r := &request{method: "GET", target: o.target()}
	switch {
	case o.put():
		r.method = "PUT"
		r.body = encode(map[string]interface{}{
			"name": o.Name, "env_id": o.Env, "node_id": o.New.Node, "process_id": o.New.Process})
		if o.New.Process%2 == 0 { // both routes mean the same
			r.method, r.target = "POST", "/api/registry"
		}
	case o.remove():
		r.method = "DELETE"
	}
	switch o.Kind {
	case opPutAbsent:
		r.headers = append(r.headers, [2]string{"If-None-Match", "*"})
	case opPutMatch, opRemoveMatch:
		r.headers = append(r.headers, [2]string{"If-Match", quoteRevision(o.Expect.Revision)})
	}
	return r
}

func (o *op) batchBody() []byte {
	var all []opJSON
	for i := range o.Items {
		it := &o.Items[i]
		j := opJSON{Op: it.Kind, Name: it.Name, Env: o.Env, IfAbsent: it.Guard == ifAbsent}
		if it.Kind == opPut {
			j.Node, j.Process = &it.New.Node, &it.New.Process
		}
		switch it.Guard {
		case ifRevision:
			j.IfRevision = &it.Expect.Revision
		case ifOwner:
			j.Node, j.Process = &it.Expect.Node, &it.Expect.Process
		}
		all = append(all, j)
	}
	return encode(map[string]interface{}{"ops": all})
}

// listTarget asks for the names that begin as that of the operation.
func (o *op) listTarget() string {
	q := url.Values{}
	q.Set("env_id", decimal(o.Env))
	q.Set("prefix", o.Name)
	q.Set("limit", strconv.Itoa(o.Limit))
	if o.stale {
		q.Set("consistency", "stale")
	}
	if o.After != "" {
		q.Set("cursor", o.After)
	}
	return "/api/registry?" + q.Encode()
}

func (o *op) nodeRequest() *request {
	r := &request{method: "PUT", target: "/api/nodes/" + decimal(o.New.Node)}
	switch o.Kind {
	case opNodeUp:
		r.body = encode(map[string]int64{"ttl_ms": o.TTL})
	case opBeat:
		r.method, r.target, r.body = "POST", r.target+"/heartbeat", []byte{}
	case opNodeDown:
		r.method = "DELETE"
	}
	return r
}

func (o *op) claimRequest() *request {
	r := &request{method: "POST", body: []byte{}}
	switch o.Kind {
	case opClaim:
		r.target = "/api/claims?wait=" + strconv.Itoa(o.Wait)
		r.body = encode(map[string]interface{}{
			"name": o.Name, "env_id": o.Env, "node_id": o.New.Node, "ttl_ms": o.TTL})
	case opConfirm:
		r.target = "/api/claims/" + o.Ticket + "/confirm"
		r.body = encode(map[string]uint64{"process_id": o.New.Process})
	case opAbort:
		r.target = "/api/claims/" + o.Ticket + "/abort"
	}
	return r
}

// --- Answers --------------------------------------------------------------------

// mayRefuse tells whether an operation of this kind may be answered no like this.
func (o *op) mayRefuse(status int, code string) bool {
	switch {
	case o.Kind == opBatch:
		return status == 409 && code == batchRefused
	case o.Kind == opBeat || o.Kind == opNodeDown:
		return status == 404 && code == noSuchNode
	case o.Kind == opClaim:
		return status == 409 && code == nameClaimed
	case o.Kind == opConfirm || o.Kind == opAbort:
		return status == 404 && code == noSuchClaim
	case o.Kind == opNodeUp || o.Kind == opList:
		return false
	}
	return statusOf[code] == status
}

// understand takes an answer into the operation. The error says what no answer
// of a sound replica looks like.
func (o *op) understand(a *answer) error {
	o.Status = a.status
	if served := a.header.Get("Callsign-Served-By"); served != strconv.Itoa(o.By) {
		return fmt.Errorf("answered by replica %q", served)
	}
	var said answerJSON
	if err := json.Unmarshal(a.body, &said); err != nil {
		return err
	}
	o.Code, o.Replayed = said.Code, a.header.Get("Idempotent-Replayed") == "true"
	switch {
	case a.status == 503:
		o.Outcome, o.Why = refused, o.Code
		return nil
	case a.status == 504:
		o.Outcome, o.Why = unknown, o.Code
		return nil
	case a.status == 422 && o.Code == otherRequest && o.Mismatch:
		o.Outcome, o.Why = refused, o.Code
		return nil
	case o.Mismatch, a.status != 200 && a.status != 201 && !o.mayRefuse(a.status, o.Code):
		return fmt.Errorf("status %d %s", a.status, o.Code)
	}
	if o.Kind != opBeat {
		var err error
		o.Revision, err = strconv.ParseUint(a.header.Get("Callsign-Revision"), 10, 64)
		if err != nil {
			return fmt.Errorf("Callsign-Revision: %v", err)
		}
	}
	o.Outcome = decided
	return o.take(&said)
}

func (o *op) take(said *answerJSON) error {
	if !o.succeeded() {
		o.RefusedAt, o.Reason = said.Index, said.Reason
		if o.Kind == opBatch {
			if said.Index < 0 || said.Index >= len(o.Items) {
				return errors.New("no such operation in the batch")
			}
			return o.takeEntry(o.Items[said.Index].Name, said.Current)
		}
		return o.takeEntry(o.Name, said.Current)
	}
	switch o.Kind {
	case opBatch:
		return o.takeResults(said.Results)
	case opList:
		return o.takePage(said)
	case opNodeUp, opBeat:
		if said.TTL != o.TTL {
			return errors.New("the lease has other terms")
		}
		return nil
	case opNodeDown:
		o.Removed = said.Removed
		return nil
	case opAbort:
		return nil
	case opClaim:
		if o.Status == 201 {
			o.Claim = said.Claim
			_, err := ticketNumber(o.Claim)
			return err
		}
	}
	if err := o.takeEntry(o.Name, &said.entryJSON); err != nil {
		return err
	}
	if o.put() && (o.Entry.Node != o.New.Node || o.Entry.Process != o.New.Process) {
		return errors.New("the answer names another owner than was registered")
	}
	return nil
}

// check says whether an answer of this operation may have this entry in it.
func (o *op) check(name string, e *entryJSON) error {
	if e.Name == nil || e.Env == nil || *e.Name != name || *e.Env != o.Env {
		return errors.New("the answer is about another name")
	}
	if e.Revision == 0 || e.Revision > o.Revision {
		return fmt.Errorf("an entry of revision %d as of revision %d", e.Revision, o.Revision)
	}
	return nil
}

func (e *entryJSON) holder() holder { return holder{e.Node, e.Process, e.Revision} }

func (o *op) takeEntry(name string, e *entryJSON) error {
	if e == nil {
		return nil
	}
	o.Found, o.Entry = true, e.holder()
	return o.check(name, e)
}

func (o *op) takeResults(results []resultJSON) error {
	if len(results) != len(o.Items) {
		return fmt.Errorf("%d results", len(results))
	}
	for i, r := range results {
		s := result{Status: r.Status, Found: r.Entry != nil}
		if s.Found {
			s.Entry = r.Entry.holder()
			if err := o.check(o.Items[i].Name, r.Entry); err != nil {
				return err
			}
		}
		o.Results = append(o.Results, s)
	}
	return nil
}

// takePage turns a page into what it says of each name of the room: those up to
// the last one on it, or all when it is the last page.
func (o *op) takePage(said *answerJSON) error {
	entries := said.Entries
	if len(entries) > o.Limit || (said.Next != "" && len(entries) < o.Limit) {
		return fmt.Errorf("a page of %d, and the next %q", len(entries), said.Next)
	}
	for _, it := range o.Items {
		if said.Next != "" && len(entries) == 0 {
			break
		}
		s := result{Status: 404}
		if len(entries) > 0 && entries[0].Name != nil && *entries[0].Name == it.Name {
			if err := o.check(it.Name, &entries[0]); err != nil {
				return err
			}
			s = result{Status: 200, Found: true, Entry: entries[0].holder()}
			entries = entries[1:]
		}
		o.Results = append(o.Results, s)
	}
	if len(entries) > 0 {
		return errors.New("a page with names that do not belong on it, or in another order")
	}
	o.Next = said.Next
	return nil
}

// ticketNumber is the order in which claims on a name are served.
func ticketNumber(claim string) (uint64, error) {
	number, _, ok := strings.Cut(claim, "-")
	if !ok {
		return 0, fmt.Errorf("claim_id %q", claim)
	}
	return strconv.ParseUint(number, 10, 64)
}
