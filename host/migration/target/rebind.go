package target

import (
	"wasmhost.example/host/channel"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// A daemon's subscriptions are bound on the target, from their cursors, as soon as
// it serves there, and before the source lets go of them. What has come of that
// is part of the migration's report; what could not be bound is tried again.

// tellBound says which of the daemon's subscriptions are not bound, where it has
// any.
func (t *Arrivals) tellBound(c migration.Conn, id identity.EntityID) {
	w, err := t.known.Find(id)
	d := w.Here
	if err != nil || d == nil {
		return
	}
	d.Lock()
	list := d.Position().Ledger.All()
	d.Unlock()
	if len(list) == 0 {
		return
	}

	var unbound []migration.Unbound
	for _, u := range t.subscriber.Unbound(t.env.Context, id, list) {
		unbound = append(unbound, migration.NewUnbound(u.Publisher, u.Channel, uint16(channel.CodeOf(u.Err)), u.Err))
	}
	if err := c.Send(&migration.Bound{Unbound: unbound}); err != nil {
		t.env.Logger.Debug("saying which subscriptions are bound", "daemon", id.Origin(), "error", err)
	}
}
