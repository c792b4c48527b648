// Package query is the queries that wait for a daemon, and the copies of it that answer them
// while the daemon processes an event that takes long.
package query

import (
	"slices"
	"sync/atomic"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/pending"
)

// Queue are those that wait for a daemon.
type Queue struct {
	count  atomic.Int64 // of daemon.MaxQueries
	queued atomic.Int64 // length of queue, for who does not take mu

	Call daemon.Call // of the query that the daemon's code answers; guarded by the daemon's lock

	mu      lock.Mutex[lock.Leaf]
	queue   []*Question
	ushered bool          // somebody waits for the daemon's lock, for all of queue
	slots   chan struct{} // a place for each copy of the daemon; nil: there was none yet

	// beside is what the daemon was before the event that it processes; nil: nobody asked. It
	// is written under mu and the daemon's lock.
	beside *Copies
}

// Question is a query that waits, and what came of it.
type Question struct {
	Payload []byte
	Done    chan struct{} // closed once the rest is set

	Answer daemon.Answer
	Err    error
	Tied   bool            // the answer, or the error, follows from the daemon's state
	Ticket *pending.Ticket // that what it follows from is durable, where tied
	By     *Copies         // what is to answer; nil: it is answered
}

// Enter counts one more query of the daemon; false: there are as many as may be. Leave takes
// it away.
func (s *Queue) Enter() bool {
	if s.count.Add(1) > daemon.MaxQueries {
		s.count.Add(-1)
		return false
	}
	return true
}

// Exit takes a query away that enter counted.
func (s *Queue) Exit() { s.count.Add(-1) }

// Waiting is how many queries wait, or are being answered.
func (s *Queue) Waiting() int64 { return s.count.Load() }

// Asked reports whether somebody waits for an answer.
func (s *Queue) Asked() bool { return s.queued.Load() > 0 }

// Beside reports whether copies answer beside the event that the daemon processes. It
// needs the daemon's lock.
func (s *Queue) Beside() bool { return s.beside != nil }

// AnswerBy has the glimpse answer all that wait, and those that come until retire. It needs
// the daemon's lock.
func (s *Queue) AnswerBy(g *Copies) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beside = g
	for _, q := range s.queue {
		q.By = g
		close(q.Done)
	}
	s.queue = nil
	s.queued.Store(0)
}

// Join has the query wait, unless something is there that can answer it. first says that
// nobody waits for the daemon's lock yet: the caller sees to that.
func (s *Queue) Join(q *Question) (first, waits bool) {
	q.Done = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beside != nil {
		q.By = s.beside
		return false, false
	}

	s.queue = append(s.queue, q)
	s.queued.Store(int64(len(s.queue)))
	first = !s.ushered
	s.ushered = true
	return first, true
}

// Next returns the query that waits longest; nil where none does, which the usher is the last
// to see.
func (s *Queue) Next() *Question {
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

// Fail ends all queries that wait, and the usher.
func (s *Queue) Fail(err error) {
	for q := s.Next(); q != nil; q = s.Next() {
		q.Err = err
		close(q.Done)
	}
}

// Leave takes a query out of the queue; false: it is not there any more.
func (s *Queue) Leave(q *Question) bool {
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
