package env

import (
	"sync"

	"wasmhost.example/host/internal/lock"
)

// Work counts the work in progress that a shutdown waits for. The zero Work takes
// work. It is safe for concurrent use, and its lock is taken under any other.
type Work struct {
	mu     lock.RWMutex[lock.Leaf]
	closed bool // by Close; guarded by mu

	running sync.WaitGroup
}

// Begin counts a piece of work; false if Close was called. After true the caller
// calls Done.
func (w *Work) Begin() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()

	if w.closed {
		return false
	}
	w.running.Add(1)
	return true
}

// Done ends a piece of work that Begin counted.
func (w *Work) Done() { w.running.Done() }

// Go runs f in a goroutine of its own as a piece of work. The caller is counted
// itself meanwhile: f runs even where Close comes between.
func (w *Work) Go(f func()) { w.running.Go(f) }

// Close makes Begin count nothing more. A second call does nothing.
func (w *Work) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.closed = true
}

// Wait returns when all that was counted is done. Close was called before.
func (w *Work) Wait() { w.running.Wait() }
