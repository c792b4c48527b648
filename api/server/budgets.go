package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
)

// Bodies of requests and answers count in the node's budgets while they are in memory,
// each as its caller's.

// largeBody is from which limit on the body of a route is an upload.
const largeBody = 64 << 20

// bodyStep is by how much the room for a body grows at a time.
const bodyStep = 64 << 10

// bodyWait is for how long a body that holds room waits for more: bodies that wait for
// one another's room would else wait for good.
const bodyWait = 5 * time.Second

// countedBody counts what is read of a body, until the request ends. Room is taken as the
// bytes come, a step at a time: a length that is only announced holds none.
type countedBody struct {
	io.ReadCloser
	ctx  context.Context
	room *budget.Budget
	most int64 // that the body may have
	wait bool  // for room; an upload does not
	read int64
	held int64
}

func (c *countedBody) Read(b []byte) (int, error) {
	if c.read == c.held && c.held < c.most {
		step := min(bodyStep, c.most-c.held)
		if err := c.take(step); err != nil {
			return 0, fmt.Errorf("%w: %w", problem.ErrBodiesFull, err)
		}
		c.held += step
	}
	if c.held < c.most {
		b = b[:min(int64(len(b)), c.held-c.read)]
	}
	n, err := c.ReadCloser.Read(b)
	c.read += int64(n)
	return n, err
}

// take takes room for the next bytes.
func (c *countedBody) take(n int64) error {
	if !c.wait || c.held+n > c.room.Limit() { // waiting does not help what holds the rest itself
		return c.room.TryAcquire(n)
	}
	ctx := c.ctx
	if c.held > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, bodyWait)
		defer cancel()
	}
	return c.room.Acquire(ctx, n)
}

func (c *countedBody) release() {
	c.room.Release(c.held)
	c.held = 0
}

// counted makes what is read of the request's body count until end is called.
func (s *Server) counted(r *http.Request, op operation) (end func()) {
	if op.stream || r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	pool, upload := s.rt.Budgets().Requests, op.bodyLimit() >= largeBody
	if upload {
		pool = s.rt.Budgets().Uploads
	}
	room, leave := pool.Of(r.Context())
	body := &countedBody{ReadCloser: r.Body, ctx: r.Context(), room: room, most: op.bodyLimit(), wait: !upload}
	if r.ContentLength > 0 {
		body.most = min(r.ContentLength, body.most)
	}
	r.Body = body
	return func() {
		body.release()
		leave()
	}
}

// answerRoom is where the answers of one stream of events count, and what to call when
// it is over.
func (s *Server) answerRoom(ctx context.Context) (*budget.Budget, func()) {
	caller, leave := s.rt.Budgets().Answers.Of(ctx)
	return caller.Lone("stream", budget.StreamAnswers), leave
}

// guard ends writes of an answer that last while others wait for what one of the
// budgets holds.
func guard(w http.ResponseWriter, rooms ...*budget.Budget) budget.Guard {
	return budget.Guard{
		Contended: func() bool { return slices.ContainsFunc(rooms, (*budget.Budget).Contended) },
		Cut: func() {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now()) // where it cannot be set, the write ends with its connection
		},
	}
}

// following bounds the values of a stream for a follower while they are written: the
// value, its text, and its JSON are in memory then.
type following struct {
	lines.Writer
	ctx   context.Context
	room  *budget.Budget
	guard budget.Guard
	leave func()
}

func newFollowing(w http.ResponseWriter, r *http.Request, followers *budget.Pool) *following {
	caller, leave := followers.Of(r.Context())
	room := caller.Lone("writer", budget.OneFollower)
	return &following{lines.New(w, r), r.Context(), room, guard(w, room), leave}
}

// close gives the follower's room back.
func (f *following) close() { f.leave() }

// output writes one output of a daemon.
func (f *following) output(o *chain.Output) error {
	return f.hold(len(o.Payload), func() error { return f.Write(OutputOf(*o)) })
}

// formsOf is how many times a payload is in memory while it is written.
const formsOf = 4

// hold calls write while a payload of so many bytes counts.
func (f *following) hold(payload int, write func() error) error {
	n := formsOf * int64(payload)
	if err := f.room.Acquire(f.ctx, n); err != nil {
		return err
	}
	defer f.room.Release(n)
	return f.guard.Do(write)
}
