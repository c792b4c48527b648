package store

import (
	"errors"
	"runtime"
	"sync"
	"time"

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
	file       *StateFile // that the value speaks of
}

// Put sets a record. The batch keeps value.
func (b *Batch) Put(t Table, k, value []byte) { b.add(op{kind: 's', key: key(t, k), value: value}) }

// Delete removes a record; one that is not there is no error.
func (b *Batch) Delete(t Table, k []byte) { b.add(op{kind: 'd', key: key(t, k)}) }

// Append sets the history record at index. The batch keeps rec.
func (b *Batch) Append(id ID, index uint64, rec []byte) {
	b.add(op{kind: 's', key: historyKey(id, index), value: rec})
}

// DeleteRecord removes the history record at index; one that is not there is no error.
func (b *Batch) DeleteRecord(id ID, index uint64) {
	b.add(op{kind: 'd', key: historyKey(id, index)})
}

// DeleteHistory removes the daemon's whole history. Many ranges that are deleted make
// the engine slow until it has merged them: few records are better deleted one by one.
func (b *Batch) DeleteHistory(id ID) {
	b.add(op{kind: 'r', key: historyKey(id, 0), value: historyKey(id, ^uint64(0))})
}

// DeleteHistoryFrom removes the daemon's history from index on.
func (b *Batch) DeleteHistoryFrom(id ID, index uint64) {
	b.add(op{kind: 'r', key: historyKey(id, index), value: historyKey(id, ^uint64(0))})
}

// DeleteRange removes the records whose keys are from from up to, and without,
// to.
func (b *Batch) DeleteRange(t Table, from, to []byte) {
	b.add(op{kind: 'r', key: key(t, from), value: key(t, to)})
}

// DeleteHistoryBefore removes the daemon's history before index.
func (b *Batch) DeleteHistoryBefore(id ID, index uint64) {
	b.add(op{kind: 'r', key: historyKey(id, 0), value: historyKey(id, index)})
}

// DeleteUnder removes the records whose keys begin with prefix, of at least one
// byte.
func (b *Batch) DeleteUnder(t Table, prefix []byte) {
	from := key(t, prefix)
	b.add(op{kind: 'r', key: from, value: after(from)})
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.size += len(o.key) + len(o.value) + 32
}

// Finish makes the files that the batch speaks of durable, which Submit would
// do while others wait.
func (b *Batch) Finish() error {
	for _, o := range b.ops {
		if o.file != nil {
			if err := o.file.Finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Size is about how many bytes of memory the batch takes while it waits.
func (b *Batch) Size() int { return batchOverhead + len(b.ops)*opOverhead + b.size }

func (b *Batch) discard() {
	for _, o := range b.ops {
		o.file.Discard()
	}
}

func (b *Batch) apply(s *Store, to *pebble.Batch, files *staged) error {
	for i := range b.ops {
		o := &b.ops[i]
		err := s.states.stage(s, to, o, files)
		if err != nil {
			return err
		}

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
func (s *Store) Submit(b *Batch, done func(error)) { s.submit(waiting{batch: b, done: done}) }

// SubmitBegun is Submit of what is also told when it begins to be written, with all
// that is written with it. begun must not block.
func (s *Store) SubmitBegun(b *Batch, begun func(), done func(error)) {
	s.submit(waiting{batch: b, done: done, begun: begun})
}

// SubmitLater is Submit of what nobody waits for: it has no sync of its own for a
// while, unless much of it comes together, or something else is to be written.
func (s *Store) SubmitLater(b *Batch, done func(error)) {
	s.submit(waiting{batch: b, done: done, later: true})
}

func (s *Store) submit(w waiting) {
	if !s.queue.put(w) {
		w.done(ErrClosed)
	}
}

// Bounds on what waits.
const (
	maxQueued = 64 << 20 // bytes that wait to be written, before callers wait
	maxLater  = 1 << 20  // bytes that wait though nobody waits for them
	later     = 20 * time.Millisecond

	// What a batch and each of its changes take beside keys and values: themselves,
	// who is told of them, and their places in the engine's batch and index.
	batchOverhead = 512
	opOverhead    = 128
)

type waiting struct {
	batch *Batch // nil: the store is to be reopened
	done  func(error)
	begun func() // nil: nothing
	later bool
}

// queue is the group commit: one goroutine takes all that waits, writes it as
// one batch with one sync, and reports in order.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond // on mu: something was put, taken, or the queue closed
	items   []waiting
	size    int
	due     bool        // the items are to be written now
	timer   *time.Timer // sets due; nil: it does not run
	closed  bool
	stopped chan struct{}
	gather  gather // the committer's
}

// gather has the committer wait for more before it writes. Those whom it has just
// answered may come back with their next at once: who then writes the first few
// alone makes all others wait for two syncs. It waits for no longer than half a
// sync, and where that was in vain not the next few times.
type gather struct {
	answered int           // items of the last write that somebody waited for
	took     time.Duration // by it
	skip     int           // so many writes until it waits again
	vain     int           // waits since the last that was not
}

// wait returns when about as many have come anew as were answered, or too few do.
func (g *gather) wait(waiting func() int) {
	want := waiting() + g.answered - g.answered/4
	if g.skip--; want <= 1 || g.skip >= 0 {
		return
	}

	const most = 10_000 // looks, where a clock stands still
	began := time.Now()
	for look := 0; waiting() < want; look++ {
		if time.Since(began) >= g.took/2 || look == most {
			g.vain = min(g.vain+1, 6)
			g.skip = 1<<g.vain - 1
			return
		}
		runtime.Gosched()
	}

	g.vain, g.skip = 0, 0
}

func (q *queue) start(s *Store) {
	q.changed.L = &q.mu
	q.stopped = make(chan struct{})
	go func() {
		defer close(q.stopped)
		var spare []waiting
		for {
			q.gather.wait(q.waiting)
			items, ok := q.take(spare)
			if !ok {
				return
			}

			began := time.Now()
			for i := range items {
				if items[i].begun != nil {
					items[i].begun()
				}
			}

			s.commit(items)
			q.gather.answered, q.gather.took = 0, time.Since(began)
			for i := range items {
				if !items[i].later {
					q.gather.answered++
				}
			}

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
		q.size += w.batch.Size()
	}

	switch {
	case !w.later || q.size > maxLater:
		q.due = true
		q.changed.Broadcast()
	case !q.due && q.timer == nil:
		q.timer = time.AfterFunc(later, q.fallDue)
	}

	return true
}

func (q *queue) fallDue() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due, q.timer = true, nil
	q.changed.Broadcast()
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 1 << 30
	}
	return len(q.items)
}

// take waits for items and returns them all; false when the queue is closed
// and empty.
func (q *queue) take(spare []waiting) ([]waiting, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 || !q.due && !q.closed {
		if q.closed {
			return nil, false
		}
		q.changed.Wait()
	}

	items := q.items
	q.items, q.size, q.due = spare, 0, false
	if q.timer != nil && q.timer.Stop() {
		q.timer = nil
	}

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
	var files staged
	err := s.why(nil)

	if err != nil {
		err = errors.Join(ErrRefused, err)
	} else if len(items) > 0 {
		b = s.db.Load().NewBatch()
		for i := range items {
			if g := items[i].batch.Generation; (g == 0 || g == generation) && err == nil {
				if err = items[i].batch.apply(s, b, &files); err != nil {
					s.giveUp(err)
					err = s.why(err)
				}
			}
		}

		if err == nil {
			began := time.Now()
			err = s.write(b)
			s.meters.wrote(items, time.Since(began), err)
		}

		if err == nil && files.of != nil {
			s.states.committed(s, &files)
		}
	}

	for i := range items {
		itemErr := err
		if g := items[i].batch.Generation; g != 0 && g != generation {
			itemErr = errStale
		}

		if itemErr != nil {
			items[i].batch.discard()
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
