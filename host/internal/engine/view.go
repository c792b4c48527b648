package engine

import (
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/tally"
)

// sampled reports whether the next event is timed. It needs d.mu.
func (d *Daemon) sampled() bool {
	d.timed++
	return d.timed%tally.SampledEvents == 1
}

// Shown returns the daemon's state and memory, as they were last shown.
func (d *Daemon) Shown() (state string, memory int64, near daemon.Near) {
	s, _ := d.view.Shown()
	state = s.Name()
	if s.State == lifecycle.Running && d.Moves().IsMoving() {
		state = lifecycle.Migrating.String()
	}
	return state, s.Memory, s.Near(d.Limits())
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
	s, made := d.view.Shown()
	return channel.Standing{Entity: d.id, Node: d.env.Self, Epoch: s.Epoch}, made && s.State != lifecycle.Moved && s.Epoch > 0
}

// Info returns what is shown of the daemon, which is in the tables.
func (d *Daemon) Info() daemon.Info {
	if d.mu.TryLock() {
		d.Show()
		d.mu.Unlock()
	}
	s, made := d.view.Shown()
	if !made {
		d.mu.Lock()
		d.stands(&s)
		d.mu.Unlock()
	}
	i := daemon.Info{
		Name: d.name, Entity: d.id, Kind: d.kind, Node: d.env.Self, Epoch: s.Epoch, Sequence: s.Sequence,
		State: s.Name(), EventsProcessed: s.Stats.Processed, EventsEmitted: s.Stats.Emitted, Errors: s.Stats.Errors,
		Head: s.Hash, Spawned: d.spawned, Limits: *d.Limits(), OwnLimits: d.OwnLimits(), MemoryBytes: s.Memory,
		StateBytes: s.Stored, Senders: s.Senders, Near: s.Near(d.Limits()),
		Loss:    d.node.LossOf(d.id),
		Waiting: daemon.Waiting{Events: d.waiting.Load(), Bytes: d.brought.Load(), Readers: d.readers.Load()},
	}
	if s.Unstored != nil {
		i.Unstored = s.Unstored.Error()
	}
	if s.Module != nil {
		i.Module = fmt.Sprintf("%x", s.Module)
	}
	if s.State == lifecycle.Running && d.Moves().IsMoving() {
		i.State = lifecycle.Migrating.String()
	}
	var moved *daemon.MovedError
	if errors.As(s.Gone, &moved) {
		i.Node, i.Epoch = moved.Node, moved.Epoch
	}
	if s.Gone != nil {
		i.Reason = s.Gone.Error()
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
	d.view.Show(d.stands)
}

// stands writes how the daemon stands to s, a field at a time: that is cheaper than a
// copy. It needs d.mu.
func (d *Daemon) stands(s *shown.Standing) {
	s.State, s.Epoch, s.Sequence, s.Hash = d.life.State(), d.epoch, d.chain.Sequence(), d.chain.HeadHash()
	s.Stats, s.Module, s.Gone, s.Halted = d.stats, d.module, d.gone, d.halted()
	s.Stored, s.Senders, s.Unstored = d.saved.Bytes(), d.horizon.Senders(), d.unstored
	s.Memory, s.Least = 0, 0
	if sizer, ok := d.daemon.(daemon.Sizer); ok && d.life.State().InMemory() {
		s.Memory = sizer.MemoryBytes()
	}
	if m, ok := d.daemon.(*guest.Daemon); ok {
		s.Least = m.LeastMemory()
	}
}
