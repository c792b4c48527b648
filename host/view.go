package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
)

// view is what is shown of a daemon. Whoever asks does not wait for the event
// that the daemon processes, but sees how it stood before.
type view struct {
	mu   lock.Mutex[lock.Leaf]
	made bool
	at   standing
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

// info returns what is shown of the daemon, which is in the tables.
func (d *hosted) info() daemon.Info {
	if d.mu.TryLock() {
		d.show()
		d.mu.Unlock()
	}
	d.view.mu.Lock()
	s, made := d.view.at, d.view.made
	d.view.mu.Unlock()
	if !made {
		d.mu.Lock()
		d.stands(&s)
		d.mu.Unlock()
	}
	i := daemon.Info{
		Name: d.name, Entity: d.id, Kind: d.kind, Node: d.env.Self, Epoch: s.epoch, Sequence: s.sequence,
		State: s.name(), EventsProcessed: s.stats.processed, EventsEmitted: s.stats.emitted, Errors: s.stats.errors,
		Head: s.hash, Spawned: d.spawned, Limits: *d.limits(), OwnLimits: d.own(), MemoryBytes: s.memory,
		StateBytes: s.stored, Senders: s.senders, Near: s.near(d.limits()),
		Loss:    d.node.LossOf(d.id),
		Waiting: daemon.Waiting{Events: d.waiting.Load(), Bytes: d.brought.Load(), Readers: d.readers.Load()},
	}
	if s.unstored != nil {
		i.Unstored = s.unstored.Error()
	}
	if s.module != nil {
		i.Module = fmt.Sprintf("%x", s.module)
	}
	if s.state == lifecycle.Running && d.IsMoving() {
		i.State = lifecycle.Migrating.String()
	}
	var moved *daemon.MovedError
	if errors.As(s.gone, &moved) {
		i.Node, i.Epoch = moved.Node, moved.Epoch
	}
	if s.gone != nil {
		i.Reason = s.gone.Error()
	} else if err := d.node.Permits.MayServe(d.id); err != nil {
		i.State, i.Reason = daemon.HeldState, err.Error()
	} else if err := d.node.Permits.MayRun(d.id); err != nil {
		i.State, i.Reason = "refused", err.Error()
	} else if err := d.waits(); err != nil {
		i.State, i.Reason = daemon.WaitingState, err.Error()
	}
	return i
}

// HaltedState is the state of a daemon that is stopped until it is started again.
const HaltedState = "stopped"

func (s *standing) name() string {
	if s.halted && s.state.Serves() {
		return HaltedState
	}
	return s.state.String()
}

// show makes what the daemon is now what is shown of it. It needs d.mu.
func (d *hosted) show() {
	d.view.mu.Lock()
	d.stands(&d.view.at)
	d.view.made = true
	d.view.mu.Unlock()
}

// stands writes how the daemon stands to s, a field at a time: that is cheaper than a
// copy. It needs d.mu.
func (d *hosted) stands(s *standing) {
	s.state, s.epoch, s.sequence, s.hash = d.life.State(), d.epoch, d.chain.Sequence(), d.chain.HeadHash()
	s.stats, s.module, s.gone, s.halted = d.stats, d.module, d.gone, d.halted()
	s.stored, s.senders, s.unstored = int64(d.saved.bytes+d.saved.changes), d.horizon.Senders(), d.unstored
	s.memory, s.least = 0, 0
	if sizer, ok := d.daemon.(daemon.Sizer); ok && d.life.State().InMemory() {
		s.memory = sizer.MemoryBytes()
	}
	if m, ok := d.daemon.(*guest.Daemon); ok {
		s.least = m.LeastMemory()
	}
}
