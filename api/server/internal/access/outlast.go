package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
)

// A client that has sent its request may close its side of the connection and wait for
// the answer. net/http cannot tell that from a client that is gone, and cancels the
// request's context in both cases. What was begun goes on therefore, for outlastFor, and
// is answered into whatever is left of the connection.

// outlastFor is for how long a request is carried on whose client may be gone.
const outlastFor = time.Minute

// outlasting returns the request with a context that ends outlastFor after its client
// closed the connection, or its side of it, or when its caller's token ends.
func outlasting(r *http.Request, who caller, now time.Time) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	end := func() { cancel(context.Canceled) }
	stopToken := func() {}
	if who.token != nil {
		ctx, stopToken = who.token.context(ctx, now)
	}
	stop := context.AfterFunc(r.Context(), func() {
		late := time.NewTimer(outlastFor)
		defer late.Stop()
		select {
		case <-late.C:
			cancel(problem.ErrOutcomeUnknown)
		case <-ctx.Done():
		}
	})
	return r.WithContext(ctx), func() {
		stop()
		end()
		stopToken()
	}
}

// outcome is the error of a request whose context ended before it did: of one that
// changes something it is not known what became of it.
func outcome(r *http.Request, err error) error {
	if err != nil && r.Context().Err() != nil && errors.Is(err, context.Canceled) && web.Changes(r.Method) {
		return fmt.Errorf("%w: %w", problem.ErrOutcomeUnknown, err)
	}
	return err
}
