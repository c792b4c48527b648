package channel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Binding is one subscription of a daemon, as its ledger has it.
type Binding struct {
	_         struct{}        `cbor:",toarray"`
	Publisher identity.NodeID // the node whose channel it is
	Channel   string
	Token     []byte            // the permission, as presented; empty: none
	Source    identity.EntityID // the channel, as the sender of its events: SourceOf
	Cursor    uint64            // sequence of the last event that the daemon applied, or failed on
}

// MaxBindings bounds the subscriptions of one daemon, MaxTokenBytes a token.
const (
	MaxBindings   = 1024    // subscriptions of one daemon
	MaxTokenBytes = 8 << 10 // bytes of a subscription's token
)

// ErrBadLedger is wrapped by every error of DecodeLedger.
var ErrBadLedger = errors.New("the subscriptions are damaged, or were tampered with")

// ErrLedgerFull says that a daemon has as many subscriptions as it may.
var ErrLedgerFull = errors.New("the daemon has too many subscriptions")

// Ledger is a daemon's subscriptions, by publisher and channel. The zero Ledger
// is empty. It is not safe for concurrent use.
type Ledger struct{ bindings []Binding }

func compare(publisher identity.NodeID, name string) func(Binding) int {
	return func(b Binding) int {
		return cmp.Or(cmp.Compare(b.Publisher, publisher), cmp.Compare(b.Channel, name))
	}
}

func (l *Ledger) search(publisher identity.NodeID, name string) (int, bool) {
	return slices.BinarySearchFunc(l.bindings, struct{}{}, func(b Binding, _ struct{}) int { return compare(publisher, name)(b) })
}

// Record adds a binding, or replaces the one of the same publisher and channel.
// ErrLedgerFull.
func (l *Ledger) Record(b Binding) error {
	i, ok := l.search(b.Publisher, b.Channel)
	switch {
	case ok:
		l.bindings[i] = b
	case len(l.bindings) >= MaxBindings:
		return fmt.Errorf("%w: %d", ErrLedgerFull, MaxBindings)
	default:
		l.bindings = slices.Insert(l.bindings, i, b)
	}

	return nil
}

// Forget takes a binding out, where there is one.
func (l *Ledger) Forget(publisher identity.NodeID, name string) {
	if i, ok := l.search(publisher, name); ok {
		l.bindings = slices.Delete(l.bindings, i, i+1)
	}
}

// Get returns the binding, which is the ledger's; nil where there is none.
func (l *Ledger) Get(publisher identity.NodeID, name string) *Binding {
	if i, ok := l.search(publisher, name); ok {
		return &l.bindings[i]
	}
	return nil
}

// From returns the binding whose events come from source, which is the
// ledger's; nil where there is none.
func (l *Ledger) From(source identity.EntityID) *Binding {
	for i := range l.bindings {
		if l.bindings[i].Source == source {
			return &l.bindings[i]
		}
	}
	return nil
}

// Len returns how many bindings there are.
func (l *Ledger) Len() int { return len(l.bindings) }

// All returns a copy of the bindings, in order.
func (l *Ledger) All() []Binding { return slices.Clone(l.bindings) }

// Clone returns a copy.
func (l *Ledger) Clone() Ledger { return Ledger{l.All()} }

// Encode returns the ledger's canonical CBOR; nothing for an empty one.
func (l *Ledger) Encode() ([]byte, error) {
	if len(l.bindings) == 0 {
		return nil, nil
	}
	b, err := canon.Marshal(l.bindings)
	if err != nil {
		return nil, fmt.Errorf("encoding subscriptions: %w", err)
	}
	return b, nil
}

// DecodeLedger reads what Encode wrote.
func DecodeLedger(b []byte) (Ledger, error) {
	var l Ledger
	if len(b) == 0 {
		return l, nil
	}
	if err := canon.Unmarshal(b, &l.bindings); err != nil {
		return Ledger{}, fmt.Errorf("%w: %w", ErrBadLedger, err)
	}
	if n := len(l.bindings); n == 0 || n > MaxBindings {
		return Ledger{}, fmt.Errorf("%w: %d of them", ErrBadLedger, n)
	}

	for i := range l.bindings {
		b := &l.bindings[i]
		if err := identity.ValidChannel(b.Channel); err != nil {
			return Ledger{}, fmt.Errorf("%w: %w", ErrBadLedger, err)
		}
		if len(b.Token) > MaxTokenBytes || b.Source.IsZero() || b.Cursor >= 1<<62 {
			return Ledger{}, fmt.Errorf("%w: that to %q", ErrBadLedger, b.Channel)
		}
		if i > 0 && compare(b.Publisher, b.Channel)(l.bindings[i-1]) >= 0 {
			return Ledger{}, fmt.Errorf("%w: they are not in order", ErrBadLedger)
		}
	}

	return l, nil
}
