// Package backoff spaces the tries of what may succeed a little later.
package backoff

import (
	"context"
	"errors"
	"time"
)

// Policy says how tries are spaced.
type Policy struct {
	First time.Duration // between the first try and the second; each pause is twice the one before
	Most  time.Duration // of one pause
	For   time.Duration // budget of all tries, from Start on; 0: they never end
}

// ErrSpent says that the last try was made.
var ErrSpent = errors.New("the time for trying again is spent")

// ErrStopped says that the channel given to Wait ended the pause.
var ErrStopped = errors.New("the pause was ended early")

// Tries is one series of tries. It belongs to one goroutine.
type Tries struct {
	policy Policy
	began  time.Time
	pause  time.Duration
}

// Start begins a series; the caller then makes the first try.
func (p Policy) Start() *Tries { return p.Since(time.Now()) }

// Since is Start for a series that began earlier.
func (p Policy) Since(began time.Time) *Tries { return &Tries{policy: p, began: began, pause: p.First} }

// Reset makes the next pause the first one again. The budget stays as spent.
func (t *Tries) Reset() { t.pause = t.policy.First }

// Next returns how long to pause before the next try. The last pause is cut to what is
// left of the budget, so that the last try is made when it ends; false: it was made.
func (t *Tries) Next() (time.Duration, bool) {
	if t.policy.For == 0 {
		return t.pause, true
	}
	left := t.policy.For - time.Since(t.began)
	if left <= 0 {
		return 0, false
	}
	return min(t.pause, left), true
}

// Wait pauses before the next try, and doubles the pause after that. Errors: ErrSpent
// at once where the budget is, context.Cause of a ctx that ended, and ErrStopped where
// stop was closed or sent to; stop may be nil.
func (t *Tries) Wait(ctx context.Context, stop <-chan struct{}) error {
	pause, ok := t.Next()
	if !ok {
		return ErrSpent
	}

	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		t.pause = min(2*t.pause, t.policy.Most)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-stop:
		return ErrStopped
	}
}
