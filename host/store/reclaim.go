package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// What is deleted stays on disk until the engine merges the tables that have it, which it
// does when there is enough to merge. Where much was deleted it is asked to do so.

// reclaimFrom is from how many bytes on the disk's space is given back at once.
const reclaimFrom = 8 << 20

// HistoryIsLarge reports whether a daemon's history before index has so much that its space
// is to be given back when it is deleted. It reads no more than it takes to know.
func (s *Store) HistoryIsLarge(id ID, index uint64) (bool, error) {
	if s.sync == pebble.NoSync {
		return false, nil
	}

	it, err := s.db.Load().NewIter(&pebble.IterOptions{LowerBound: historyKey(id, 0), UpperBound: historyKey(id, index)})
	if err != nil {
		return false, fmt.Errorf("reading: %w", classify(err))
	}

	size := 0
	for valid := it.First(); valid && size < reclaimFrom; valid = it.Next() {
		v := it.LazyValue()
		size += v.Len()
	}

	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return false, fmt.Errorf("reading: %w", classify(err))
	}
	return size >= reclaimFrom, nil
}

// Reclaim gives back the space of a daemon's history before index, which was deleted,
// durably. It returns when that is done; commits go on meanwhile. A store in memory has none
// to give.
func (s *Store) Reclaim(ctx context.Context, id ID, index uint64) error {
	if s.sync == pebble.NoSync || index == 0 {
		return nil
	}

	s.reclaiming.Lock() // one at a time: it is work for the disk
	defer s.reclaiming.Unlock()
	if err := errors.Join(ctx.Err(), s.why(nil)); err != nil {
		return err
	}

	err := contained(func() error { return s.db.Load().Compact(ctx, historyKey(id, 0), historyKey(id, index), false) })
	if err != nil {
		return fmt.Errorf("giving back disk space: %w", classify(err))
	}

	s.space.measure()
	return nil
}
