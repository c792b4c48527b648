package web

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/api/server/problem"
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
