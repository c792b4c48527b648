package access

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
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
func (g *Guard) counted(r *http.Request, op Operation) (end func()) {
	if op.Stream || r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	pool, upload := g.budgets.Requests, op.bodyLimit() >= largeBody
	if upload {
		pool = g.budgets.Uploads
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

// AnswerRoom is where the answers of one stream of events count, and what to call when
// it is over.
func (g *Guard) AnswerRoom(ctx context.Context) (*budget.Budget, func()) {
	caller, leave := g.budgets.Answers.Of(ctx)
	return caller.Lone("stream", budget.StreamAnswers), leave
}
