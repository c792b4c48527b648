package directory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is an Engine in memory, for tests and for a trial. Each node reaches it
// by a Link of its own, which can be cut.
type Memory struct {
	mu       sync.Mutex
	revision int64
	values   map[string]Change
	log      []Change
	changed  chan struct{} // closed at the next change
}

// NewMemory makes an empty one.
func NewMemory() *Memory {
	return &Memory{values: make(map[string]Change), changed: make(chan struct{})}
}

// Link is a node's way to a Memory.
type Link struct {
	of *Memory

	mu     sync.Mutex
	asks   bool          // requests arrive
	hears  bool          // answers arrive
	mended chan struct{} // closed when that changes
}

// Link returns a way to it.
func (m *Memory) Link() *Link {
	return &Link{of: m, asks: true, hears: true, mended: make(chan struct{})}
}

// Set says whether requests arrive at the engine, and answers at the node.
func (l *Link) Set(asks, hears bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks, l.hears = asks, hears
	close(l.mended)
	l.mended = make(chan struct{})
}

func (l *Link) state() (asks, hears bool, mended <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asks, l.hears, l.mended
}

// exchange is one request: what is lost on the way is not heard of.
func (l *Link) exchange(ctx context.Context, fn func()) error {
	if asks, _, _ := l.state(); !asks {
		<-ctx.Done()
		return context.Cause(ctx)
	}

	fn()
	if _, hears, _ := l.state(); !hears {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return ctx.Err()
}

// Commit implements Engine.
func (l *Link) Commit(ctx context.Context, conditions []Condition, writes []Write) (revision int64, err error) {
	if lost := l.exchange(ctx, func() { revision, err = l.of.commit(conditions, writes) }); lost != nil {
		return 0, lost
	}
	return revision, err
}

// Get implements Engine.
func (l *Link) Get(ctx context.Context, key string) (value []byte, revision int64, err error) {
	err = l.exchange(ctx, func() {
		l.of.mu.Lock()
		defer l.of.mu.Unlock()
		c := l.of.values[key]
		value, revision = bytes.Clone(c.Value), c.Revision
	})
	return value, revision, err
}

// Watch implements Engine.
func (l *Link) Watch(ctx context.Context, prefix string, fn func(*Change)) error {
	m := l.of
	var all []Change
	var at int
	if err := l.exchange(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		at = len(m.log)
		for _, k := range slices.Sorted(maps.Keys(m.values)) {
			if strings.HasPrefix(k, prefix) {
				all = append(all, m.values[k])
			}
		}
	}); err != nil {
		return err
	}

	for i := range all {
		fn(&all[i])
	}

	fn(nil)
	for {
		_, hears, mended := l.state()
		m.mu.Lock()
		changed, now := m.changed, len(m.log)
		var next []Change
		if hears {
			next = slices.Clone(m.log[at:now])
			at = now
		}
		m.mu.Unlock()
		for i := range next {
			if strings.HasPrefix(next[i].Key, prefix) {
				fn(&next[i])
			}
		}

		select {
		case <-changed:
		case <-mended:
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		}

		if !hears { // until it hears again
			select {
			case <-mended:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

func (m *Memory) commit(conditions []Condition, writes []Write) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range conditions {
		if m.values[c.Key].Revision != c.Revision {
			return 0, ErrConflict
		}
	}

	m.revision++
	for _, w := range writes {
		c := Change{Key: w.Key, Value: bytes.Clone(w.Value), Revision: m.revision}
		if w.Value == nil {
			delete(m.values, w.Key)
		} else {
			m.values[w.Key] = c
		}
		m.log = append(m.log, c)
	}

	close(m.changed)
	m.changed = make(chan struct{})
	return m.revision, nil
}
