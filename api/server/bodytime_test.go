package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// slowBody is a body whose reads wait; they fail when the deadline has passed.
type slowBody struct {
	deadline time.Time
	wait     time.Duration // before each byte
	left     int           // bytes; 0: EOF
}

func (s *slowBody) Close() error { return nil }

func (s *slowBody) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if until := time.Until(s.deadline); !s.deadline.IsZero() && until < s.wait {
		time.Sleep(until)
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.wait)
	s.left--
	return 1, nil
}

func TestBodiesHaveTheirTime(t *testing.T) {
	for name, c := range map[string]struct {
		stream bool
		wait   time.Duration
		bytes  int
		want   error
		took   time.Duration
	}{
		"at once":                    {false, 0, 10, nil, 0},
		"slow and short":             {false, 5 * time.Second, 10, nil, 50 * time.Second},
		"never a byte":               {false, time.Hour, 1, problem.ErrSlowBody, bodyIdle},
		"a trickle without an end":   {false, time.Second, 1 << 30, problem.ErrSlowBody, bodyGrace},
		"a stream that rests":        {true, 50 * time.Minute, 20, nil, 1000 * time.Minute},
		"a stream that says nothing": {true, 2 * time.Hour, 1, problem.ErrSlowBody, streamIdle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowBody{wait: c.wait, left: c.bytes}
				b := &timedBody{ReadCloser: s, now: time.Now, began: time.Now(), stream: c.stream,
					deadline: func(at time.Time) error { s.deadline = at; return nil }}
				began := time.Now()
				_, err := io.Copy(io.Discard, b)
				if !errors.Is(err, c.want) || time.Since(began) != c.took {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(began), c.want, c.took)
				}
				if c.want == nil && !s.deadline.IsZero() {
					t.Errorf("the deadline %v outlasts the body", s.deadline)
				}
			})
		})
	}
}

// A body whose deadline passes is answered by name, and its connection ends.
func TestSlowBodyIsAnswered(t *testing.T) {
	s := serve(t, "a")
	must[host.KindInfo](t)(s.rt.PushKind(ctx, "counter", counterModule(t)))
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
