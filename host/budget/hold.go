package budget

import (
	"context"
	"sync"
)

// Hold is bytes of a budget that one owner has. Done may be called more than once,
// by any goroutine. The zero Hold holds nothing, of no budget.
type Hold struct {
	of *Budget

	mu   sync.Mutex
	n    int64
	done bool
}

// Reserve waits for n bytes and returns them as a Hold.
func (b *Budget) Reserve(ctx context.Context, n int64) (*Hold, error) {
	if err := b.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return &Hold{of: b, n: n}, nil
}

// TakeHold is Reserve that does not wait: nil where there is no room.
func (b *Budget) TakeHold(n int64) *Hold {
	if !b.Take(n) {
		return nil
	}
	return &Hold{of: b, n: n}
}

// Set makes the hold one of n bytes: what is reserved beyond them is given back,
// and what it lacks is counted (Budget.Add).
func (h *Hold) Set(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.done:
		return
	case n < h.n:
		h.of.Release(h.n - n)
	default:
		h.of.Add(n - h.n)
	}

	h.n = n
}

// Done gives everything back.
func (h *Hold) Done() {
	if h == nil {
		return
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return
	}

	h.done = true
	h.of.Release(h.n)
}
