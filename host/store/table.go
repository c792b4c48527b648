package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Table is a set of records under keys.
type Table byte

// The tables. The letters are part of the format.
const (
	Daemons   Table = 'd' // by identity: what a daemon is
	Snapshots Table = 's' // by identity: its latest snapshot
	Moved     Table = 'v' // by identity: where it went
	Departed  Table = 'V' // by a hash of name or origin, and the beginning of the identity: who is in Moved and went elsewhere
	Outgoing  Table = 'o' // by identity: released to another node, not yet confirmed
	Incoming  Table = 'i' // by identity: prepared for another node, not yet released
	Kinds     Table = 'k' // by name
	Peers     Table = 'p' // by key
	Meta      Table = 'm' // by name
	Passive   Table = 'z' // by identity: where a daemon stands that is on disk alone
	Bound     Table = 'b' // by identity: the subscriptions of a daemon
	Channels  Table = 'c' // by name: what a channel is
	Events    Table = 'l' // by channel and sequence: the channels' logs
	Revoked   Table = 'x' // by issuer: below which generation its tokens are revoked
	Effects   Table = 'f' // by identity: what a passive daemon may do, and its timers
	Authors   Table = 'u' // by channel and daemon: the last that it published there
	Deltas    Table = 'e' // by identity and place, 4 bytes: what changed since the snapshot or the delta before

	Witnesses Table = 'w' // by identity: the last signed word of a daemon that left
	Proofs    Table = 'q' // by identity: that its key signed two histories

	Receipts Table = 'r' // by identity and epoch: what was signed of a move

	Groups   Table = 'g' // by name: the groups that this node keeps
	Bindings Table = 'G' // by a group's name and a sender: which member has the sender's events

	Standbys Table = 'y' // by identity: what a daemon is of which another node's history is kept here

	Holds    Table = 't' // by identity: why a daemon serves nothing until an operator decides
	Evidence Table = 'n' // by identity, epoch and index: history of a copy that lost to another

	Known Table = 'j' // by identity: what the directory said of a daemon last

	history Table = 'h' // by identity and index
)

// No two tables have one letter: this would not compile.
var _ = map[Table]struct{}{Daemons: {}, Snapshots: {}, Moved: {}, Outgoing: {}, Incoming: {}, Kinds: {}, Peers: {}, Meta: {}, Passive: {}, Bound: {}, Channels: {},
	Events: {}, Revoked: {}, Effects: {}, Authors: {}, Deltas: {}, Witnesses: {}, Proofs: {}, Receipts: {}, Groups: {}, Bindings: {}, Standbys: {}, Holds: {}, Evidence: {},
	Known: {}, Departed: {}, history: {}, apart: {}}

// ID names a daemon: its identity's 32 bytes.
type ID = [32]byte

func key(t Table, k []byte) []byte {
	return append(append(make([]byte, 0, 1+len(k)), byte(t)), k...)
}

func historyKey(id ID, index uint64) []byte {
	b := append(append(make([]byte, 0, 41), byte(history)), id[:]...)
	return binary.BigEndian.AppendUint64(b, index)
}

// Get returns the record, which is the caller's, or ErrNotFound; ErrClosed once the
// store is.
func (s *Store) Get(t Table, k []byte) ([]byte, error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.shut {
		return nil, ErrClosed
	}

	v, closer, err := s.db.Load().Get(key(t, k))
	if err != nil {
		return nil, fmt.Errorf("reading %c %x: %w", t, k, classify(err))
	}

	out := append([]byte(nil), v...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("reading %c %x: %w", t, k, classify(err))
	}
	return out, nil
}

// Scan calls fn with each record of the table in order of keys, until fn
// returns an error, which Scan returns. Key and value are fn's only for the
// call.
func (s *Store) Scan(t Table, fn func(k, v []byte) error) error {
	return s.scan([]byte{byte(t)}, []byte{byte(t) + 1}, false, func(k, v []byte) error { return fn(k[1:], v) })
}

// ScanRange is Scan of the records whose keys are from from up to, and without,
// to.
func (s *Store) ScanRange(t Table, from, to []byte, fn func(k, v []byte) error) error {
	return s.scan(key(t, from), key(t, to), false, func(k, v []byte) error { return fn(k[1:], v) })
}

// ScanPrefix is Scan of the records whose key begins with prefix, which is not
// empty. fn gets the whole key.
func (s *Store) ScanPrefix(t Table, prefix []byte, fn func(k, v []byte) error) error {
	from := key(t, prefix)
	return s.scan(from, after(from), false, func(k, v []byte) error { return fn(k[1:], v) })
}

// after returns the first key that comes after all that begin with b.
func after(b []byte) []byte {
	b = append([]byte(nil), b...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil // none does: keys begin with a table's letter
}

// ReadHistory calls fn with the records from index from up to, and without,
// index to, in order. From 0 it begins with the first record that is kept. A
// missing index is ErrCorrupt.
func (s *Store) ReadHistory(id ID, from, to uint64, fn func(index uint64, rec []byte) error) error {
	next := from
	err := s.scan(historyKey(id, from), historyKey(id, to), false, func(k, v []byte) error {
		index := binary.BigEndian.Uint64(k[33:])
		if from == 0 && next == 0 {
			next = index
		}

		if index != next {
			return fmt.Errorf("%w: history of %x has record %d where %d should be", ErrCorrupt, id[:8], index, next)
		}

		next++
		return fn(index, v)
	})
	if err == nil && next < to && to != ^uint64(0) {
		return fmt.Errorf("%w: history of %x ends before record %d", ErrCorrupt, id[:8], next)
	}

	return err
}

// ErrStop, returned by a callback, ends a scan without an error.
var ErrStop = errors.New("stop")

// ReadHistoryBackward is ReadHistory from the last record down. fn ends it with
// ErrStop.
func (s *Store) ReadHistoryBackward(id ID, fn func(index uint64, rec []byte) error) error {
	return s.scan(historyKey(id, 0), historyKey(id, ^uint64(0)), true, func(k, v []byte) error {
		return fn(binary.BigEndian.Uint64(k[33:]), v)
	})
}

// HistoryEnd returns the index after the last record; 0 where there is none.
func (s *Store) HistoryEnd(id ID) (uint64, error) {
	var end uint64
	err := s.ReadHistoryBackward(id, func(index uint64, _ []byte) error {
		end = index + 1
		return ErrStop
	})
	return end, err
}

func (s *Store) scan(from, to []byte, backward bool, fn func(k, v []byte) error) error {
	return scanIn(s.db.Load(), from, to, backward, fn)
}

func scanIn(db *pebble.DB, from, to []byte, backward bool, fn func(k, v []byte) error) (err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("reading: %w", classify(err))
	}

	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("reading: %w", classify(closeErr))
		}
	}()

	step, ok := it.Next, it.First
	if backward {
		step, ok = it.Prev, it.Last
	}

	for valid := ok(); valid; valid = step() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("reading: %w", classify(err))
		}
		if err := fn(it.Key(), v); err != nil {
			if err == ErrStop {
				return nil
			}
			return err
		}
	}

	if err := it.Error(); err != nil {
		return fmt.Errorf("reading: %w", classify(err))
	}
	return nil
}

// classify adds the error of ours that the engine's error amounts to.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, pebble.ErrClosed):
		return ErrClosed
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
