package server

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
)

// A body whose deadline passes is answered by name, and its connection ends.
func TestSlowBodyIsAnswered(t *testing.T) {
	s := serve(t, "a")
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	ours, theirs := net.Pipe()
	l := make(oneConn, 1)
	l <- expired{theirs}
	server := &http.Server{Handler: s.server}
	go server.Serve(l)
	defer server.Close()
	if _, err := io.WriteString(ours, "POST /v1/daemons/c/events HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n\r\nab"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(ours)
	if err != nil || !strings.Contains(string(answer), "408") || !strings.Contains(string(answer), "body-timeout") {
		t.Errorf("%q, %v", answer, err)
	}
}

// expired is a connection whose read deadlines have passed as soon as they are set.
type expired struct{ net.Conn }

func (e expired) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		at = time.Unix(1, 0)
	}
	return e.Conn.SetReadDeadline(at)
}

// oneConn is a listener of the connections that it was given.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConn) Close() error   { close(l); return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }
