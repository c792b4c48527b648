package table

import "wasmhost.example/identity"

// expectation is what a node was told of a daemon that is to come.
type expectation struct {
	kind   string
	key    *identity.KeyPair // nil: only the envelope can bring it
	source identity.NodeID   // from where alone it may come; 0: from anywhere
}

func (e *expectation) wipe() {
	if e.key != nil {
		e.key.Wipe()
	}
}

// Expect notes that a daemon of the kind is to come. key is the daemon's, where that does
// not come along, or nil; the table has it from now on, where the error is nil, and wipes
// it. ErrClosed, ErrExpected.
func (t *Table[D, A, M]) Expect(id identity.EntityID, kind string, key *identity.KeyPair) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.closed {
		return ErrClosed
	}
	if _, ok := t.expected[id]; ok {
		return ErrExpected
	}
	t.expected[id] = &expectation{kind: kind, key: key}
	return nil
}

// BindSource lets a daemon that is expected come from that node alone, unless it is bound
// already, and returns the node from where alone it may come now. It reports false where
// the daemon is not expected.
func (t *Table[D, A, M]) BindSource(id identity.EntityID, source identity.NodeID) (bound identity.NodeID, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()

	e := t.expected[id]
	if e == nil {
		return 0, false
	}
	if e.source == 0 {
		e.source = source
	}
	return e.source, true
}

// Expected returns of which kind the daemon is expected, and from where alone it may
// come, 0 for anywhere; false where it is not expected.
func (t *Table[D, A, M]) Expected(id identity.EntityID) (kind string, source identity.NodeID, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()

	e := t.expected[id]
	if e == nil {
		return "", 0, false
	}
	return e.kind, e.source, true
}

// ExpectedKey returns a copy of the key that was given for a daemon that is expected; nil
// where none was. The caller wipes it.
func (t *Table[D, A, M]) ExpectedKey(id identity.EntityID) *identity.KeyPair {
	t.mu.RLock()
	defer t.mu.RUnlock()

	e := t.expected[id]
	if e == nil || e.key == nil {
		return nil
	}
	return e.key.Clone()
}

// CountExpected returns how many daemons are expected.
func (t *Table[D, A, M]) CountExpected() int {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return len(t.expected)
}
