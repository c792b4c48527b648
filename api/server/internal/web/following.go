package web

import (
	"context"
	"net/http"
	"slices"
	"time"

	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
)

// Guard ends writes of an answer that last while others wait for what one of the
// budgets holds.
func Guard(w http.ResponseWriter, rooms ...*budget.Budget) budget.Guard {
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

// NewFollowing begins an answer of lines that goes on while its client follows, within
// the room of followers. The caller closes it.
func NewFollowing(w http.ResponseWriter, r *http.Request, followers *budget.Pool) *following {
	caller, leave := followers.Of(r.Context())
	room := caller.Lone("writer", budget.OneFollower)
	return &following{lines.New(w, r), r.Context(), room, Guard(w, room), leave}
}

// Close gives the follower's room back.
func (f *following) Close() { f.leave() }

// Output writes one output of a daemon.
func (f *following) Output(o *chain.Output) error {
	return f.Hold(len(o.Payload), func() error { return f.Write(convert.OutputOf(*o)) })
}

// formsOf is how many times a payload is in memory while it is written.
const formsOf = 4

// Hold calls write while a payload of so many bytes counts.
func (f *following) Hold(payload int, write func() error) error {
	n := formsOf * int64(payload)
	if err := f.room.Acquire(f.ctx, n); err != nil {
		return err
	}
	defer f.room.Release(n)
	return f.guard.Do(write)
}
