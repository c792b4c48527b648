// Package shown is what is shown of a daemon to those who do not wait for it, and which
// limits it is near.
package shown

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
)

// View is what is shown of a daemon. Whoever asks does not wait for the event that the daemon
// processes, but sees how it stood before. It is safe for concurrent use.
type View struct {
	mu   lock.Mutex[lock.Leaf]
	made bool
	at   Standing
}

// Show has set write how the daemon stands now, a field at a time: that is cheaper than a
// copy. set must not look at the view.
func (v *View) Show(set func(*Standing)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	set(&v.at)
	v.made = true
}

// Shown returns how the daemon stood when it was last shown; made says that it was.
func (v *View) Shown() (at Standing, made bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at, v.made
}

// Processed is how many events the daemon had applied when it was last shown.
func (v *View) Processed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at.Stats.Processed
}

// Moved returns where the daemon went; nil where it has not moved.
func (v *View) Moved() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at.State == lifecycle.Moved {
		return v.at.Gone
	}
	return nil
}

// Broken reports whether the daemon is failed or diverged.
func (v *View) Broken() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at.State.Broken()
}

// Standing is what of a daemon changes while it is in the runtime's tables.
type Standing struct {
	State    lifecycle.State
	Epoch    uint64
	Sequence uint64
	Hash     chain.Hash
	Stats    Stats
	Module   []byte
	Memory   int64
	Least    int64 // memory that it has at least; 0: not known
	Stored   int64 // bytes of its state, as it was stored last; 0: not known
	Senders  int   // that it remembers
	Unstored error // why its state could not be stored last
	Gone     error
	Halted   bool
}

// Name is the daemon's state as users read it.
func (s *Standing) Name() string {
	if s.Halted && s.State.Serves() {
		return daemon.HaltedState
	}
	return s.State.String()
}

// Stats counts a daemon's events: those that it processed, its outputs, and those that it
// failed on.
type Stats struct{ Processed, Emitted, Errors uint64 }
