package store

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Errors of batches.
var (
	// ErrRefused is wrapped by the error of a batch of which nothing was
	// written. After any other error it may be there or not.
	ErrRefused = errors.New("nothing was written")

	errStale = fmt.Errorf("%w: the store was reopened since: what the batch follows from may be lost", ErrRefused)
)

// maxReopenings bounds how often a store is reopened in one life: each engine
// that is given up keeps its memory. Openings that fail do not count.
const maxReopenings = 16

// Err returns nil when the store takes new records; an error that wraps
// ErrNoSpace while the disk is full, and ErrPoisoned when a write or sync
// failed for another reason: only a restart helps then (see Failed). Reading
// goes on, and so does deleting while the store is not poisoned. After a full
// disk the store goes on by itself: Err asks the disk again.
func (s *Store) Err() error {
	s.mu.Lock()
	poison, final := s.poison, s.final
	ask := poison != nil && !final && !s.reopening && time.Since(s.asked) >= lookWhileLow
	if ask {
		s.reopening, s.asked = true, time.Now()
	}
	s.mu.Unlock()
	if ask && !s.queue.put(waiting{}) {
		return ErrClosed
	}
	if poison != nil {
		return poison
	}

	return s.space.room(0)
}

// Failed returns a channel that is closed when the store is poisoned and only
// a restart helps.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Generation counts how often the store was opened. What was submitted under
// an earlier generation and failed is lost, and what is held in memory of it
// has to be read again.
func (s *Store) Generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// why returns the store's poison, or err where there is none.
func (s *Store) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison != nil {
		return s.poison
	}
	return classify(err)
}

// noteFailure hears of every change to the disk that failed. A sync that
// failed is the end, whoever asked for it; what else failed, the engine says
// itself when it cannot go on.
func (s *Store) noteFailure(err error, sync bool) {
	if sync {
		s.poisonWith(err, true)
	}
}

// giveUp poisons the store because the engine cannot go on. A disk that is full
// leaves what was synced before whole, and gives up nothing that it took.
func (s *Store) giveUp(cause error) { s.poisonWith(cause, !isFull(cause)) }

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (s *Store) poisonWith(cause error, final bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison != nil && !final || s.final {
		return
	}
	if s.final = final; final {
		s.poison = fmt.Errorf("%w: %w", ErrPoisoned, classify(cause))
		close(s.failed)
		return
	}

	s.poison = fmt.Errorf("%w: %w", ErrNoSpace, cause)
}

// reopen replaces an engine that a full disk stopped. It runs on the
// committer's goroutine.
func (s *Store) reopen() {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reopening = false
	}()
	if s.why(nil) == nil || s.isFinal() || s.space.room(1) != nil {
		return
	}

	s.guard.close()
	err := s.openEngine()
	switch {
	case err == nil && s.reopened():
	case err == nil:
		s.poisonWith(fmt.Errorf("the disk was full %d times", maxReopenings), true)
		return
	case isFull(err): // to be tried again
		return
	default:
		s.poisonWith(fmt.Errorf("reopening the data directory after it was full: %w", err), true)
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final {
		return
	}

	s.poison = nil
	s.generation++
	s.logger.Info("the disk has room again", "generation", s.generation)
}

// reopened counts a reopening; false when it was one too many.
func (s *Store) reopened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reopenings++
	return s.reopenings <= maxReopenings
}

func (s *Store) isFinal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.final
}
