package store

import (
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that become durable together or not at all. It is
// used by one goroutine and handed over by Commit or Submit.
type Batch struct {
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
	batch *Batch
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
			err := s.write(items)
			for i := range items {
				items[i].done(err)
				items[i] = waiting{}
			}
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
	q.size += w.batch.size
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

// write makes the items durable with one sync. A failure poisons the store: a
// sync that failed is never tried again, for what it would have written may be
// lost without a trace.
func (s *Store) write(items []waiting) (err error) {
	if err := s.Err(); err != nil {
		return err
	}
	defer func() { // the engine panics on some failed writes
		switch p := recover().(type) {
		case nil:
		case error:
			err = s.poisonWith(p)
		default:
			err = s.poisonWith(fmt.Errorf("%v", p))
		}
	}()
	b := s.db.NewBatch()
	for _, w := range items {
		if err := w.batch.apply(b); err != nil {
			return s.poisonWith(err)
		}
	}
	if err := b.Commit(s.sync); err != nil {
		return s.poisonWith(err)
	}
	if err := b.Close(); err != nil {
		return s.poisonWith(err)
	}
	return nil
}
