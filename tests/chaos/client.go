package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// errNotSent means that no byte of the request left: it surely did nothing.
var errNotSent = errors.New("not sent")

// link is one HTTP connection to one replica. net/http's own client retries
// behind our back and does not tell whether a request was sent.
type link struct {
	address string
	timeout time.Duration
	conn    net.Conn
	in      *bufio.Reader
}

type request struct {
	method, target string
	headers        [][2]string
	body           []byte
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

func (r *request) bytes(host string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.target, host)
	for _, h := range r.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if r.body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

func (l *link) do(r *request) (*answer, error) {
	deadline := time.Now().Add(l.timeout)
	if l.conn == nil {
		conn, err := net.DialTimeout("tcp", l.address, l.timeout)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errNotSent, err)
		}
		l.conn, l.in = conn, bufio.NewReader(conn)
	}
	a, err := l.exchange(r, deadline)
	if err != nil {
		l.close()
	}
	return a, err
}

func (l *link) exchange(r *request, deadline time.Time) (*answer, error) {
	l.conn.SetDeadline(deadline)
	if _, err := l.conn.Write(r.bytes(l.address)); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(l.in, &http.Request{Method: r.method})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.Close {
		l.close()
	}
	return &answer{response.StatusCode, response.Header, body}, nil
}

// --- The registry's requests and answers --------------------------------------

type entryJSON struct {
	Node     uint64  `json:"node_id"`
	Process  uint64  `json:"process_id"`
	Name     *string `json:"name"`
	Env      *uint64 `json:"env_id"`
	Revision uint64  `json:"revision"`
}

type problemJSON struct {
	Code    string     `json:"code"`
	Current *entryJSON `json:"current"`
}

func quoteRevision(revision uint64) string {
	return `"` + strconv.FormatUint(revision, 10) + `"`
}

func (o *op) target() string {
	q := url.Values{}
	q.Set("env_id", strconv.FormatUint(o.Env, 10))
	switch o.Kind {
	case opStale:
		q.Set("consistency", "stale")
	case opAtLeast:
		q.Set("at_least", strconv.FormatUint(o.AtLeast, 10))
	case opRemoveOwner:
		q.Set("node_id", strconv.FormatUint(o.Expect.Node, 10))
		q.Set("process_id", strconv.FormatUint(o.Expect.Process, 10))
	}
	return "/api/registry/" + url.PathEscape(o.Name) + "?" + q.Encode()
}

func (o *op) request() *request {
	r := &request{method: "GET", target: o.target()}
	switch o.Kind {
	case opPut, opPutAbsent, opPutMatch:
		r.method = "PUT"
		r.body, _ = json.Marshal(map[string]interface{}{
			"name": o.Name, "env_id": o.Env, "node_id": o.New.Node, "process_id": o.New.Process})
		if o.New.Process%2 == 0 { // both routes mean the same
			r.method, r.target = "POST", "/api/registry"
		}
	case opRemove, opRemoveOwner, opRemoveMatch:
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

// understand takes an answer into the operation. The error says what no answer
// of a sound replica looks like.
func (o *op) understand(a *answer) error {
	o.Status = a.status
	if served := a.header.Get("Callsign-Served-By"); served != strconv.Itoa(o.Replica) {
		return fmt.Errorf("answered by replica %q", served)
	}
	entry, err := o.read(a)
	if err != nil {
		return err
	}
	switch {
	case a.status == 200 || a.status == 201:
	case a.status == 404 && o.Code == "process_not_found",
		a.status == 412 && (o.Code == "name_taken" || o.Code == "precondition_failed"),
		a.status == 409 && o.Code == "not_owner":
	case a.status == 503:
		o.Outcome, o.Why = refused, o.Code
		return nil
	case a.status == 504:
		o.Outcome, o.Why = unknown, o.Code
		return nil
	default:
		return fmt.Errorf("status %d %s", a.status, o.Code)
	}
	o.Revision, err = strconv.ParseUint(a.header.Get("Callsign-Revision"), 10, 64)
	if err != nil {
		return fmt.Errorf("Callsign-Revision: %v", err)
	}
	o.Outcome = decided
	return o.take(entry)
}

func (o *op) read(a *answer) (*entryJSON, error) {
	if a.status < 300 {
		entry := &entryJSON{}
		return entry, json.Unmarshal(a.body, entry)
	}
	var problem problemJSON
	err := json.Unmarshal(a.body, &problem)
	o.Code = problem.Code
	return problem.Current, err
}

func (o *op) take(e *entryJSON) error {
	if e == nil {
		return nil
	}
	if e.Name == nil || e.Env == nil || *e.Name != o.Name || *e.Env != o.Env {
		return errors.New("the answer is about another name")
	}
	o.Found, o.Entry = true, holder{e.Node, e.Process, e.Revision}
	if o.put() && o.changed() && (e.Node != o.New.Node || e.Process != o.New.Process) {
		return errors.New("the answer names another owner than was registered")
	}
	if e.Revision == 0 || e.Revision > o.Revision {
		return fmt.Errorf("an entry of revision %d as of revision %d", e.Revision, o.Revision)
	}
	return nil
}
