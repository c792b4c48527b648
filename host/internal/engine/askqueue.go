package engine

import (
	"slices"
	"sync/atomic"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/pending"
)

// queries are those that wait for a daemon.
type queries struct {
	count  atomic.Int64 // of daemon.MaxQueries
	queued atomic.Int64 // length of queue, for who does not take mu

	call daemon.Call // of the query that the daemon's code answers; guarded by the daemon's lock

	mu      lock.Mutex[lock.Leaf]
	queue   []*question
	ushered bool          // somebody waits for the daemon's lock, for all of queue
	slots   chan struct{} // a place for each copy of the daemon; nil: there was none yet

	// beside is what the daemon was before the event that it processes; nil: nobody asked. It
	// is written under mu and the daemon's lock.
	beside *glimpse
}

// question is a query that waits, and what came of it.
type question struct {
	payload []byte
	done    chan struct{} // closed once the rest is set

	answer daemon.Answer
	err    error
	tied   bool            // the answer, or the error, follows from the daemon's state
	ticket *pending.Ticket // that what it follows from is durable, where tied
	by     *glimpse        // what is to answer; nil: it is answered
}

// enter counts one more query of the daemon; false: there are as many as may be. Leave takes
// it away.
func (s *queries) enter() bool {
	if s.count.Add(1) > daemon.MaxQueries {
		s.count.Add(-1)
		return false
	}
	return true
}

// exit takes a query away that enter counted.
func (s *queries) exit() { s.count.Add(-1) }

// waiting is how many queries wait, or are being answered.
func (s *queries) waiting() int64 { return s.count.Load() }

// asked reports whether somebody waits for an answer.
func (s *queries) asked() bool { return s.queued.Load() > 0 }

// besideIt reports whether copies answer beside the event that the daemon processes. It
// needs the daemon's lock.
func (s *queries) besideIt() bool { return s.beside != nil }

// answerBy has the glimpse answer all that wait, and those that come until retire. It needs
// the daemon's lock.
func (s *queries) answerBy(g *glimpse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beside = g
	for _, q := range s.queue {
		q.by = g
		close(q.done)
	}
	s.queue = nil
	s.queued.Store(0)
}

// join has the query wait, unless something is there that can answer it. first says that
// nobody waits for the daemon's lock yet: the caller sees to that.
func (s *queries) join(q *question) (first, waits bool) {
	q.done = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beside != nil {
		q.by = s.beside
		return false, false
	}

	s.queue = append(s.queue, q)
	s.queued.Store(int64(len(s.queue)))
	first = !s.ushered
	s.ushered = true
	return first, true
}

// next returns the query that waits longest; nil where none does, which the usher is the last
// to see.
func (s *queries) next() *question {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.ushered = false
		return nil
	}
	q := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.queued.Store(int64(len(s.queue)))
	return q
}

// fail ends all queries that wait, and the usher.
func (s *queries) fail(err error) {
	for q := s.next(); q != nil; q = s.next() {
		q.err = err
		close(q.done)
	}
}

// leave takes a query out of the queue; false: it is not there any more.
func (s *queries) leave(q *question) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := slices.Index(s.queue, q)
	if k < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, k, k+1)
	s.queued.Store(int64(len(s.queue)))
	return true
}
