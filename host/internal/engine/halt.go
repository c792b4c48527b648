package engine

import (
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
)

// SetHalted needs d.mu.
func (x Upkeep) SetHalted(stop bool) (*pending.Ticket, error) {
	d := x.d
	if d.halted() == stop {
		return d.last, nil
	}
	rec, err := journal.Encode(&journal.Halt{Stopped: stop, Time: d.Turns().Now()})
	if err != nil {
		return nil, err
	}
	d.halt(stop)
	t := d.last
	if d.recording() {
		t = d.Turns().Record(rec)
	}
	d.Show()
	what := daemon.Stopped
	if !stop {
		what = daemon.Started
		d.Effects().StartEffects()
	}
	d.Notify(what, "")
	return t, nil
}

// halt notes that the daemon is stopped, or not. It needs d.mu.
func (d *Daemon) halt(stop bool) {
	if d.effects == nil {
		d.effects = &effect.State{}
	}
	d.effects.Halt(stop)
}

// halted needs d.mu.
func (d *Daemon) halted() bool { return d.effects != nil && d.effects.Halted() }

// Going returns nil where the daemon takes events. It needs d.mu.
func (x Turns) Going() error {
	if x.d.halted() {
		return fmt.Errorf("%w: %s", daemon.ErrHalted, x.d.id.Origin())
	}
	return nil
}
