package engine

import (
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/tally"
)

// sampled reports whether the next event is timed. It needs d.mu.
func (d *Daemon) sampled() bool {
	d.timed++
	return d.timed%tally.SampledEvents == 1
}

// Shown returns the daemon's state and memory, as they were last shown.
func (d *Daemon) Shown() (state string, memory int64, near daemon.Near) {
	d.view.mu.Lock()
	s := d.view.at
	d.view.mu.Unlock()
	state = s.name()
	if s.state == lifecycle.Running && d.Moves().IsMoving() {
		state = lifecycle.Migrating.String()
	}
	return state, s.memory, s.near(d.Limits())
}

// Notify publishes what happened to the daemon.
func (d *Daemon) Notify(what daemon.Topic, reason string) {
	d.env.Notify(daemon.Notification{Topic: what, Entity: d.id, Name: d.name, Kind: d.kind, Epoch: d.epoch, Reason: reason})
}

func (x Moves) OwnsUnder(epoch uint64) bool {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch >= epoch
}

func (d *Daemon) Standing() (channel.Standing, bool) {
	if d.kind == "" || d.leader != nil {
		return channel.Standing{}, false
	}
	d.view.mu.Lock()
	epoch, made, gone := d.view.at.epoch, d.view.made, d.view.at.state == lifecycle.Moved
	d.view.mu.Unlock()
	return channel.Standing{Entity: d.id, Node: d.env.Self, Epoch: epoch}, made && !gone && epoch > 0
}

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

// Info returns what is shown of the daemon, which is in the tables.
func (d *Daemon) Info() daemon.Info {
	if d.mu.TryLock() {
		d.Show()
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
		Head: s.hash, Spawned: d.spawned, Limits: *d.Limits(), OwnLimits: d.OwnLimits(), MemoryBytes: s.memory,
		StateBytes: s.stored, Senders: s.senders, Near: s.near(d.Limits()),
		Loss:    d.node.LossOf(d.id),
		Waiting: daemon.Waiting{Events: d.waiting.Load(), Bytes: d.brought.Load(), Readers: d.readers.Load()},
	}
	if s.unstored != nil {
		i.Unstored = s.unstored.Error()
	}
	if s.module != nil {
		i.Module = fmt.Sprintf("%x", s.module)
	}
	if s.state == lifecycle.Running && d.Moves().IsMoving() {
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

func (s *standing) name() string {
	if s.halted && s.state.Serves() {
		return daemon.HaltedState
	}
	return s.state.String()
}

// Show makes what the daemon is now what is shown of it. It needs d.mu.
func (d *Daemon) Show() {
	d.view.mu.Lock()
	d.stands(&d.view.at)
	d.view.made = true
	d.view.mu.Unlock()
}

// stands writes how the daemon stands to s, a field at a time: that is cheaper than a
// copy. It needs d.mu.
func (d *Daemon) stands(s *standing) {
	s.state, s.epoch, s.sequence, s.hash = d.life.State(), d.epoch, d.chain.Sequence(), d.chain.HeadHash()
	s.stats, s.module, s.gone, s.halted = d.stats, d.module, d.gone, d.halted()
	s.stored, s.senders, s.unstored = d.saved.Bytes(), d.horizon.Senders(), d.unstored
	s.memory, s.least = 0, 0
	if sizer, ok := d.daemon.(daemon.Sizer); ok && d.life.State().InMemory() {
		s.memory = sizer.MemoryBytes()
	}
	if m, ok := d.daemon.(*guest.Daemon); ok {
		s.least = m.LeastMemory()
	}
}
