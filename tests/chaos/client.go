package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
