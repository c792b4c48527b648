package budget

import "sync"

// Shares are the budgets of callers below one parent: one for each peer or token.
// It holds those that are in use. It is safe for concurrent use.
type Shares[K comparable] struct {
	parent *Budget
	level  string
	limit  int64

	mu   sync.Mutex
	each map[K]*share
}

type share struct {
	budget *Budget
	users  int
}

// NewShares makes the budgets of callers, each of the same limit.
func NewShares[K comparable](parent *Budget, level string, limit int64) *Shares[K] {
	return &Shares[K]{parent: parent, level: level, limit: limit, each: make(map[K]*share)}
}

// Of returns the caller's budget, and what to call once everything that was
// acquired from it is released.
func (s *Shares[K]) Of(k K) (*Budget, func()) {
	if s == nil {
		return nil, func() {}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.each[k]
	if h == nil {
		h = &share{budget: s.parent.Child(s.level, s.limit)}
		s.each[k] = h
	}

	h.users++
	return h.budget, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if h.users--; h.users == 0 && s.each[k] == h {
			delete(s.each, k)
		}
	})
}

// Len returns how many callers have a budget.
func (s *Shares[K]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.each)
}
