package host

import (
	"context"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// handleMigration is mesh.Handler.HandleMigration.
func (r *Runtime) handleMigration(ctx context.Context, from identity.NodeID, c migration.Conn) {
	if !r.env.Work.Begin() {
		exchange.Answer(r.env.Logger, c, migration.NewRefuse(migration.Failf(migration.NotReady, "the node is shutting down")))
		return
	}
	defer r.env.Work.Done()
	defer context.AfterFunc(r.env.Context, c.Abort)()
	msg, err := c.Recv()
	if err != nil {
		r.env.Logger.Debug("a migration stream broke", "from", from, "error", err)
		return
	}
	switch msg := msg.(type) {
	case *migration.Offer:
		err = r.arrivals.Take(ctx, from, c, msg, nil)
	case *migration.BareOffer:
		err = r.arrivals.Take(ctx, from, c, &msg.Offer, msg)
	case *migration.Release:
		err = r.arrivals.TakeRelease(from, c, msg)
	case *migration.Ask:
		r.departures.Answer(r.table.Look(msg.Entity).Leaving, from, c, msg)
	case *migration.Order:
		err = r.departures.TakeOrder(ctx, from, c, msg)
	default:
		err = migration.Failf(migration.ProtocolError, "a %T where an offer should be", msg)
	}
	if err != nil {
		r.env.Logger.Warn("a migration to this node failed", "from", from, "error", err)
		exchange.Answer(r.env.Logger, c, migration.NewRefuse(exchange.ErrorOf(r.env.Context, err)))
	}
}

// Present implements target.Node. Where the source has the daemon under an epoch that is
// not lower than the copy's here, it is asked for its proof first, which holds the copy.
func (o arrivalsOf) Present(from identity.NodeID, offer *migration.Offer) error {
	r := o.rt
	d := r.table.Daemon(offer.Entity)
	if d == nil {
		return nil
	}
	if s, ok := d.Standing(); ok && offer.Epoch >= s.Epoch && !r.holds.Has(d.Entity()) {
		if err := r.exchangeSome(r.env.Context, from, []channel.Standing{s}); err != nil {
			r.env.Logger.Debug("telling a migration's source where the daemon stands", "daemon", d.Entity().Origin(), "source", from, "error", err)
		}
	}
	if err := r.holds.MayServe(d.Entity()); err != nil {
		return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s: %v", r.env.Self, offer.Entity.Origin(), err)
	}
	return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s", r.env.Self, offer.Entity.Origin())
}
