package engine

import (
	"bytes"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/pending"
)

// repeat answers an event whose number its sender has reached before with what
// was recorded then: ErrReused where that was another event, ErrSuperseded
// where nothing is recorded. It needs d.mu.
func (d *Daemon) repeat(ev *Input) (pending.Event, error) {
	p := pending.Event{Result: daemon.Result{Duplicate: true}, Ticket: d.last}
	if d.env.Store == nil || d.kind == "" {
		return p, nil
	}
	if err := d.last.WaitStored(d.env.Context); err != nil {
		return pending.Event{}, err
	}
	f, err := d.repeated.Find(d.env.Store, d.id, &ev.Event, d.horizon.Number(ev.Sender))
	switch {
	case err != nil:
		return pending.Event{}, fmt.Errorf("looking up a repeated event: %w", err)
	case f == nil:
		return pending.Event{}, fmt.Errorf("%w: number %d; the last is %d", daemon.ErrSuperseded, ev.Number, d.horizon.Number(ev.Sender))
	case f.Err == nil && !bytes.Equal(f.Payload, ev.Payload):
		return pending.Event{}, fmt.Errorf("%w: number %d", daemon.ErrReused, ev.Number)
	}
	p.Result.Outputs, p.Err = f.Outputs, f.Err
	return p, nil
}
