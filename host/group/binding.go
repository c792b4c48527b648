package group

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"sync"
	"time"

	"wasmhost.example/identity"
)

// An event with an id is applied once because the member that has it remembers it. So a
// group remembers which member that is: the binding of the event's sender. It is stored
// before the event is given to the member, and it outlives every change of the group:
//
//	the event's number       | goes to
//	above all that were sent | with a key: the member that the key is for now; else the
//	                         | sender's last member, or another where that one is gone
//	not above                | the member that the number was bound to; ErrMemberGone
//	                         | where that one is gone
//
// A member that is made anew is another member: it remembers nothing of the one before.

// Bounds of what a group remembers.
const (
	// MaxPlaces is how many runs the senders of a group have together at most. A sender
	// whose events went to one member has one.
	MaxPlaces = 1 << 18

	maxRuns      = 256 // of one sender
	shareOfScope = 8   // the senders of one token or peer have at most 1/8 of the places
	shareOfAll   = 2   // those of all tokens and peers together at most 1/2
	maxReserve   = 1 << 10
)

// Errors of bindings.
var (
	// ErrMemberGone says that the member is gone that an event with an id was sent to,
	// so that nobody can tell whether it was applied. It is not applied again.
	ErrMemberGone = errors.New("the member that the event was sent to is gone")

	ErrTooManySenders = errors.New("the group remembers as many senders as it may")
	ErrSenderQuota    = errors.New("the group remembers as many senders of one token or peer as it may")
)

// Binding says which member has which events of a sender.
type Binding struct {
	Sender identity.EntityID
	Floor  uint64 // of numbers up to this one nothing is known any more: they are refused
	Runs   []Run  // by From, ascending; each ends before the next begins
	UpTo   uint64 // no event of a higher number was sent to a member
	Time   int64  // when an event came last, Unix nanoseconds, as far as it is stored
}

// Run says that the events from a number on are a member's.
type Run struct {
	From uint64
	Born uint64 // Member.Born
}

// SenderMemory bounds what a group remembers of its senders.
type SenderMemory struct {
	Places int           // 0: MaxPlaces
	For    time.Duration // for how long a silent sender is remembered once all places are taken; 0: a day
}

func (s SenderMemory) filled() SenderMemory {
	if s.Places == 0 {
		s.Places = MaxPlaces
	}
	if s.For == 0 {
		s.For = 24 * time.Hour
	}
	return s
}

// bound is a binding in use.
type bound struct {
	mu sync.Mutex // held while the binding is changed and stored; before bindings.mu

	Binding
	high    uint64 // the highest number that was sent to a member
	unsure  uint64 // a number above the last run's From, and not above this, may not have been sent: a restart came between
	stored  bool   // as it is here
	dropped bool   // it is in the table no more
}

// run returns where number is, among the runs.
func (b *bound) run(number uint64) Run {
	next := sort.Search(len(b.Runs), func(i int) bool { return b.Runs[i].From > number })
	return b.Runs[max(next-1, 0)]
}

func (b *bound) last() Run { return b.Runs[len(b.Runs)-1] }

// bindings are those of a group. They are safe for concurrent use.
type bindings struct {
	limits SenderMemory
	forget func([]identity.EntityID) error // durably

	mu       sync.Mutex
	bySender map[identity.EntityID]*bound
	places   int
	byScope  map[identity.SenderScope]int
	scoped   int   // of all scopes
	oldest   int64 // no binding's Time is before
}

func newBindings(limits SenderMemory, forget func([]identity.EntityID) error) *bindings {
	return &bindings{limits: limits.filled(), forget: forget, bySender: make(map[identity.EntityID]*bound), byScope: make(map[identity.SenderScope]int), oldest: math.MaxInt64}
}

// add takes up a binding that was stored.
func (t *bindings) add(b Binding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &bound{Binding: b, high: b.UpTo, stored: true}
	if from := one.last().From; b.UpTo > from {
		one.unsure = b.UpTo
	}

	t.bySender[b.Sender] = one
	t.oldest = min(t.oldest, b.Time)
	t.count(b.Sender, len(b.Runs))
}

// count counts places that are taken or, below 0, free. It needs t.mu.
func (t *bindings) count(sender identity.EntityID, n int) {
	t.places += n
	scope, ok := sender.Scope()
	if !ok {
		return
	}

	t.scoped += n
	if t.byScope[scope] += n; t.byScope[scope] <= 0 {
		delete(t.byScope, scope)
	}
}

// senders is how many are remembered.
func (t *bindings) senders() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.bySender)
}

// of returns the sender's binding, which may be new. Its mu is held.
func (t *bindings) of(sender identity.EntityID) *bound {
	for {
		t.mu.Lock()
		b := t.bySender[sender]
		if b == nil {
			b = &bound{Binding: Binding{Sender: sender}}
			t.bySender[sender] = b
		}
		t.mu.Unlock()
		b.mu.Lock()
		if !b.dropped {
			return b
		}
		b.mu.Unlock()
	}
}

// release ends what of began. A binding without a run is none. It needs b.mu, which it
// releases.
func (t *bindings) release(b *bound) {
	if len(b.Runs) == 0 {
		b.dropped = true
		t.mu.Lock()
		delete(t.bySender, b.Sender)
		t.mu.Unlock()
	}
	b.mu.Unlock()
}

// take takes a place for another run of a sender. Where none is free, the senders that
// were silent for long are forgotten first. ErrTooManySenders, ErrSenderQuota. It needs
// the mu of the sender's binding.
func (t *bindings) take(sender identity.EntityID, now int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.room(sender)

	// What is stored of a time lags behind by up to an eighth: see grown.
	if before := now - int64(t.limits.For) - int64(t.limits.For/8); err != nil && t.oldest < before {
		if forgot := t.sweep(before); forgot != nil {
			return forgot
		}
		err = t.room(sender)
	}

	if err == nil {
		t.count(sender, 1)
		t.oldest = min(t.oldest, now)
	}
	return err
}

func (t *bindings) giveBack(sender identity.EntityID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(sender, -1)
}

func (t *bindings) room(sender identity.EntityID) error {
	most := t.limits.Places
	scope, scoped := sender.Scope()
	switch {
	case scoped && t.byScope[scope] >= max(1, most/shareOfScope):
		return fmt.Errorf("%w: %d", ErrSenderQuota, max(1, most/shareOfScope))
	case scoped && t.scoped >= max(1, most/shareOfAll):
		return fmt.Errorf("%w: %d of all tokens and peers together", ErrSenderQuota, max(1, most/shareOfAll))
	case t.places >= most:
		return fmt.Errorf("%w: %d", ErrTooManySenders, most)
	}

	return nil
}

// sweep forgets the senders that were silent since before. It needs t.mu, so that no
// binding of one of them is stored meanwhile.
func (t *bindings) sweep(before int64) error {
	t.oldest = math.MaxInt64
	var old []*bound
	var senders []identity.EntityID

	for sender, b := range t.bySender {
		if !b.mu.TryLock() {
			continue // it is in use, and so no old one
		}
		if b.Time >= before || len(b.Runs) == 0 {
			if len(b.Runs) > 0 {
				t.oldest = min(t.oldest, b.Time)
			}
			b.mu.Unlock()
			continue
		}

		old, senders = append(old, b), append(senders, sender)
	}

	err := t.forget(senders)
	for _, b := range old {
		if err == nil {
			b.dropped = true
			delete(t.bySender, b.Sender)
			t.count(b.Sender, -len(b.Runs))
		} else {
			t.oldest = min(t.oldest, b.Time)
		}
		b.mu.Unlock()
	}

	return err
}

// grown is the binding once the event was sent to the member: what has to be stored
// before that, and whether anything has. It needs b.mu.
func (b *bound) grown(number, born uint64, now int64, memory time.Duration) (next Binding, changes bool) {
	next = b.Binding
	if len(b.Runs) == 0 || number > b.high && b.last().Born != born {
		next.Runs = append(append(make([]Run, 0, len(b.Runs)+1), b.Runs...), Run{number, born})
		if len(next.Runs) > maxRuns {
			next.Floor, next.Runs = next.Runs[1].From-1, next.Runs[1:]
		}
		next.UpTo = max(next.UpTo, number)
		changes = true
	}

	if number > next.UpTo { // those that follow are not stored each by itself
		next.UpTo = number + min(number-1, maxReserve)
		changes = true
	}

	if now-next.Time > int64(memory/8) {
		next.Time, changes = now, true
	}
	return next, changes || !b.stored
}
