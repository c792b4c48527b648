package engine

import (
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
)

// Regrant changes what the daemon may do from its next event on: what is in revoked is taken
// away, then what is in added is permitted. It needs d.mu. After an error, which wraps
// effect.ErrBadGrant, nothing has changed.
func (x Upkeep) Regrant(added, revoked effect.Grants) (effect.Grants, *pending.Ticket, error) {
	d := x.d
	var before effect.Grants
	if d.effects != nil {
		before = d.effects.Grants().Clone()
	}
	now := before.With(added, revoked)
	if err := now.Check(); err != nil {
		return before, nil, err
	}
	if now.Equal(&before) {
		return before, d.last, nil
	}
	rec, err := journal.Encode(&journal.Grant{Grants: now.Clone(), Time: d.Turns().Now()})
	if err != nil {
		return before, nil, err
	}
	d.grant(now)
	t := d.last
	if d.recording() {
		t = d.Turns().Record(rec)
	}
	d.Show()
	return now, t, nil
}
