package host

import (
	"context"
	"errors"

	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Regrant changes what a daemon may do, from its next event on: what is in revoked is taken
// away, then what is in added is permitted. What it sent before is on its way still. It
// returns what the daemon may do now, which is durable then; it goes with the daemon. Errors:
// *NotFoundError, *MovedError, effect.ErrBadGrant: nothing has changed then. After an error
// of the store, or the end of ctx, it is not known whether the change is durable.
func (r Daemons) Regrant(ctx context.Context, id identity.EntityID, added, revoked effect.Grants) (effect.Grants, error) {
	if err := errors.Join(r.rt.ready(), r.rt.room()); err != nil {
		return effect.Grants{}, err
	}
	d, err := r.rt.find(id)
	if err != nil {
		return effect.Grants{}, err
	}
	if err := d.Mailbox().Admit(ctx); err != nil {
		return effect.Grants{}, err
	}
	now, t, err := d.Upkeep().Regrant(added, revoked)
	d.Unlock()
	if err != nil {
		return effect.Grants{}, err
	}
	if err := t.Wait(ctx); err != nil {
		return effect.Grants{}, err
	}
	r.rt.env.Logger.Info("grants changed", "daemon", id.Origin(), "name", d.Name(), "channels", len(now.Publish), "daemons", len(now.Send), "any", now.SendAny)
	return now, nil
}
