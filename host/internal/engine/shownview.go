package engine

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
)

// view is what is shown of a daemon. Whoever asks does not wait for the event that the daemon
// processes, but sees how it stood before. It is safe for concurrent use.
type view struct {
	mu   lock.Mutex[lock.Leaf]
	made bool
	at   standing
}

// show has set write how the daemon stands now, a field at a time: that is cheaper than a
// copy. set must not look at the view.
func (v *view) show(set func(*standing)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	set(&v.at)
	v.made = true
}

// shown returns how the daemon stood when it was last shown; made says that it was.
func (v *view) shown() (at standing, made bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at, v.made
}

// processed is how many events the daemon had applied when it was last shown.
func (v *view) processed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at.stats.processed
}

// moved returns where the daemon went; nil where it has not moved.
func (v *view) moved() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at.state == lifecycle.Moved {
		return v.at.gone
	}
	return nil
}

// broken reports whether the daemon is failed or diverged.
func (v *view) broken() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at.state.Broken()
}

// standing is what of a daemon changes while it is in the runtime's tables.
type standing struct {
	state    lifecycle.State
	epoch    uint64
	sequence uint64
	hash     chain.Hash
	stats    stats
	module   []byte
	memory   int64
	least    int64 // memory that it has at least; 0: not known
	stored   int64 // bytes of its state, as it was stored last; 0: not known
	senders  int   // that it remembers
	unstored error // why its state could not be stored last
	gone     error
	halted   bool
}

// name is the daemon's state as users read it.
func (s *standing) name() string {
	if s.halted && s.state.Serves() {
		return daemon.HaltedState
	}
	return s.state.String()
}

// stats counts a daemon's events: those that it processed, its outputs, and those that it
// failed on.
type stats struct{ processed, emitted, errors uint64 }
