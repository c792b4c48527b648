package engine

import (
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/query"
)

// glance gives what the daemon was before the event that it processes to the queries that
// wait. It is daemon.Env.Pause: it runs under d.mu, in the event.
func (d *Daemon) glance() {
	s := &d.queries
	if !s.Asked() {
		return
	}
	code, ok := d.daemon.(*guest.Daemon)
	if !ok {
		return
	}

	s.AnswerBy(d.glimpseBy(code.ViewBefore(), false))
}

// glimpseOf returns what the daemon is, for one query. It needs d.mu.
func (d *Daemon) glimpseOf() (*query.Copies, error) {
	code, ok := d.daemon.(*guest.Daemon)
	if !ok {
		return nil, fmt.Errorf("%w than its code may take", daemon.ErrPatience)
	}
	v, err := code.View()
	if err != nil {
		return nil, err
	}
	return d.glimpseBy(v, true), nil
}

// glimpseBy is the glimpse of a view of the state that d's fields tell of, for one query or
// for all that come beside an event. It needs d.mu.
func (d *Daemon) glimpseBy(v *guest.View, once bool) *query.Copies {
	ticket := d.last
	if d.gathered != nil && d.gathered.any {
		ticket = d.gathered.ticket
	}
	var grants effect.Grants
	if d.effects != nil {
		grants = d.effects.Grants().Clone()
	}
	at := daemon.Answer{Applied: d.applied, Sequence: d.chain.Sequence(), Epoch: d.epoch}
	return query.NewCopies(v, grants, at, *d.queryCall(), ticket, d.leader, once)
}
