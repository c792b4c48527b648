package engine

import (
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/tally"
)

// sampled reports whether the next event is timed. It needs d.mu.
func (d *Daemon) sampled() bool {
	d.timed++
	return d.timed%tally.SampledEvents == 1
}

// Shown returns the daemon's state and memory, as they were last shown.
func (d *Daemon) Shown() (state string, memory int64, near daemon.Near) {
	s, _ := d.view.shown()
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

// OwnsUnder reports whether the daemon is of the epoch, or of a later one.
func (x Moves) OwnsUnder(epoch uint64) bool {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch >= epoch
}

// Standing says that the daemon is here, under its epoch; false where it is not, is yet to be
// shown, or is a cluster's: that has other ways to say so.
func (d *Daemon) Standing() (channel.Standing, bool) {
	if d.kind == "" || d.leader != nil {
		return channel.Standing{}, false
	}
	s, made := d.view.shown()
	return channel.Standing{Entity: d.id, Node: d.env.Self, Epoch: s.epoch}, made && s.state != lifecycle.Moved && s.epoch > 0
}

// Info returns what is shown of the daemon, which is in the tables.
func (d *Daemon) Info() daemon.Info {
	if d.mu.TryLock() {
		d.Show()
		d.mu.Unlock()
	}
	s, made := d.view.shown()
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

// Show makes what the daemon is now what is shown of it. It needs d.mu.
func (d *Daemon) Show() {
	d.view.show(d.stands)
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
