package store

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that become durable together or not at all. It is
// used by one goroutine and handed over by Commit or Submit.
type Batch struct {
	// Generation, where it is not 0, is the generation of the store that the
	// batch follows from: in any other it is refused.
	Generation uint64

	ops  []op
	size int
}

type op struct {
	kind       byte // 's'et, 'd'elete, 'r'ange delete
	key, value []byte
}

// Put sets a record. The batch keeps value.
func (b *Batch) Put(t Table, k, value []byte) { b.add(op{'s', key(t, k), value}) }

// Delete removes a record; one that is not there is no error.
func (b *Batch) Delete(t Table, k []byte) { b.add(op{'d', key(t, k), nil}) }

// Append sets the history record at index. The batch keeps rec.
func (b *Batch) Append(id ID, index uint64, rec []byte) { b.add(op{'s', historyKey(id, index), rec}) }

// DeleteHistory removes the daemon's whole history.
func (b *Batch) DeleteHistory(id ID) {
	b.add(op{'r', historyKey(id, 0), historyKey(id, ^uint64(0))})
}

// DeleteHistoryFrom removes the daemon's history from index on.
func (b *Batch) DeleteHistoryFrom(id ID, index uint64) {
	b.add(op{'r', historyKey(id, index), historyKey(id, ^uint64(0))})
}

// DeleteRange removes the records whose keys are from from up to, and without,
// to.
func (b *Batch) DeleteRange(t Table, from, to []byte) { b.add(op{'r', key(t, from), key(t, to)}) }

// DeleteHistoryBefore removes the daemon's history before index.
func (b *Batch) DeleteHistoryBefore(id ID, index uint64) {
	b.add(op{'r', historyKey(id, 0), historyKey(id, index)})
}

// DeleteUnder removes the records whose keys begin with prefix, of at least one
// byte.
func (b *Batch) DeleteUnder(t Table, prefix []byte) {
	from := key(t, prefix)
	b.add(op{'r', from, after(from)})
}

// Bytes returns how much the batch holds, about.
func (b *Batch) Bytes() int { return b.size }

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.size += len(o.key) + len(o.value) + 32
}

func (b *Batch) apply(to *pebble.Batch) error {
	for _, o := range b.ops {
		var err error
		switch o.kind {
		case 's':
			err = to.Set(o.key, o.value, nil)
		case 'd':
			err = to.Delete(o.key, nil)
		default:
			err = to.DeleteRange(o.key, o.value, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Commit makes the batch durable, after all that was submitted before.
func (s *Store) Commit(b *Batch) error {
	done := make(chan error, 1)
	s.Submit(b, func(err error) { done <- err })
	return <-done
}

// Submit queues the batch. done is called once it is durable, or with the
// error; on the committer's goroutine, in the order of Submit, and it must not
// block. Batches of many callers share one sync. Submit blocks while more than
// maxQueued bytes wait.
func (s *Store) Submit(b *Batch, done func(error)) {
	if !s.queue.put(waiting{batch: b, done: done}) {
		done(ErrClosed)
	}
}

const maxQueued = 64 << 20

type waiting struct {
	batch *Batch // nil: the store is to be reopened
	done  func(error)
}

// queue is the group commit: one goroutine takes all that waits, writes it as
// one batch with one sync, and reports in order.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond // on mu: something was put, taken, or the queue closed
	items   []waiting
	size    int
	closed  bool
	stopped chan struct{}
}

func (q *queue) start(s *Store) {
	q.changed.L = &q.mu
	q.stopped = make(chan struct{})
	go func() {
		defer close(q.stopped)
		var spare []waiting
		for {
			items, ok := q.take(spare)
			if !ok {
				return
			}
			s.commit(items)
			clear(items)
			spare = items[:0]
		}
	}()
}

func (q *queue) put(w waiting) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.size > maxQueued && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return false
	}
	q.items = append(q.items, w)
	if w.batch != nil {
		q.size += w.batch.size
	}
	q.changed.Broadcast()
	return true
}

// take waits for items and returns them all; false when the queue is closed
// and empty.
func (q *queue) take(spare []waiting) ([]waiting, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 {
		if q.closed {
			return nil, false
		}
		q.changed.Wait()
	}
	items := q.items
	q.items, q.size = spare, 0
	q.changed.Broadcast()
	return items, true
}

// stop closes the queue and waits until it is empty; false when it was closed
// before.
func (q *queue) stop() bool {
	q.mu.Lock()
	was := q.closed
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	<-q.stopped
	return !was
}

// commit writes the items, and reopens the store where one of them asks for
// it: what was queued before has failed by then.
func (s *Store) commit(items []waiting) {
	start := 0
	for i, w := range items {
		if w.batch == nil {
			s.finish(items[start:i])
			s.reopen()
			start = i + 1
		}
	}
	s.finish(items[start:])
}

// finish writes the items that are of this generation with one sync, and
// reports on all of them in order.
func (s *Store) finish(items []waiting) {
	generation := s.Generation()
	var b *pebble.Batch
	err := s.why(nil)
	if err != nil {
		err = errors.Join(ErrRefused, err)
	} else if len(items) > 0 {
		b = s.db.Load().NewBatch()
		for i := range items {
			if g := items[i].batch.Generation; (g == 0 || g == generation) && err == nil {
				err = items[i].batch.apply(b)
			}
		}
		if err == nil {
			err = s.write(b)
		}
	}
	for i := range items {
		itemErr := err
		if g := items[i].batch.Generation; g != 0 && g != generation {
			itemErr = errStale
		}
		items[i].done(itemErr)
	}
}

// write makes the batch durable with one sync. A failure poisons the store: a
// sync that failed is never tried again, for what it would have written may be
// lost without a trace.
func (s *Store) write(b *pebble.Batch) error {
	err := contained(func() error { return b.Commit(s.sync) })
	if err == nil {
		err = b.Close()
	}
	if err != nil {
		if s.why(nil) == nil { // else the engine has said why
			s.giveUp(err)
		}
		return s.why(err)
	}
	s.space.measure()
	return nil
}
