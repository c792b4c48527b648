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

// ReclaimHistory gives back the space of a daemon's history before index, which was
// deleted. Without now it does so only where that has much. It returns when the space is
// given back; commits go on meanwhile. A store in memory has none to give.
func (s *Store) ReclaimHistory(ctx context.Context, id ID, index uint64, now bool) error {
	return s.reclaim(ctx, historyKey(id, 0), historyKey(id, index), now)
}

// ReclaimDaemon is ReclaimHistory of all of a daemon's history.
func (s *Store) ReclaimDaemon(ctx context.Context, id ID) error {
	return s.reclaim(ctx, historyKey(id, 0), historyKey(id, ^uint64(0)), false)
}

func (s *Store) reclaim(ctx context.Context, from, to []byte, now bool) error {
	if s.sync == pebble.NoSync {
		return nil
	}
	s.reclaiming.Lock() // one at a time: it is work for the disk
	defer s.reclaiming.Unlock()
	if err := errors.Join(ctx.Err(), s.why(nil)); err != nil {
		return err
	}
	err := contained(func() error {
		db := s.db.Load()
		if !now {
			if n, err := db.EstimateDiskUsage(from, to); err != nil || n < reclaimFrom {
				return err
			}
		}
		return db.Compact(ctx, from, to, false)
	})
	if err != nil {
		return fmt.Errorf("giving back disk space: %w", classify(err))
	}
	s.space.measure()
	return nil
}
