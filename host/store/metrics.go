package store

import (
	"time"

	"wasmhost.example/host/meter"
)

// Metrics is what a store has done since it was opened, and how it stands.
type Metrics struct {
	Batches  uint64             // that were made durable
	Syncs    uint64             // writes that made them so: many batches share one
	Failed   uint64             // writes that failed
	Bytes    uint64             // of the batches
	Sync     meter.Distribution // how long a write took until it was durable
	Queued   int                // bytes that wait to be written
	Failure  bool               // a write failed: nothing is written until the host is restarted, or the disk has room
	Full     bool               // the disk is as full as it may be
	Free     uint64             // bytes of the disk, as of the last look; 0 where it is not known
	Reserve  uint64             // bytes of it that stay free
	Disk     uint64             // bytes that the engine's files have
	Compacts int64              // compactions of the engine
	Reopened int                // after the disk was full
}

// meters are those of a store. The committer alone counts.
type meters struct {
	batches, syncs, failed, bytes meter.Counter
	sync                          meter.Histogram
}

func (m *meters) wrote(items []waiting, took time.Duration, err error) {
	m.sync.Observe(took)
	if err != nil {
		m.failed.Add(1)
		return
	}

	m.syncs.Add(1)
	m.batches.Add(uint64(len(items)))
	n := 0
	for i := range items {
		n += items[i].batch.size
	}

	m.bytes.Add(uint64(n))
}

// Metrics returns what the store counted.
func (s *Store) Metrics() Metrics {
	out := Metrics{Batches: s.meters.batches.Load(), Syncs: s.meters.syncs.Load(), Failed: s.meters.failed.Load(), Bytes: s.meters.bytes.Load(),
		Sync: s.meters.sync.Read(), Full: s.space.low.Load(), Free: s.space.free.Load(), Reserve: s.space.reserve}
	s.mu.Lock()
	out.Failure, out.Reopened = s.poison != nil, s.reopenings
	s.mu.Unlock()
	s.queue.mu.Lock()
	out.Queued = s.queue.size
	s.queue.mu.Unlock()
	err := contained(func() error { // an engine that failed may not answer
		m := s.db.Load().Metrics()
		out.Disk, out.Compacts = m.DiskSpaceUsage(), m.Compact.Count
		return nil
	})

	if err != nil {
		out.Disk, out.Compacts = 0, 0
	}
	return out
}
