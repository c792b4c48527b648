package host

import (
	"context"
	"errors"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/target"
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
		taking, end := r.traceTake(ctx, msg.Entity)
		err = r.takeOffer(taking, from, c, msg, nil)
		end(err)
	case *migration.BareOffer:
		taking, end := r.traceTake(ctx, msg.Offer.Entity)
		err = r.takeOffer(taking, from, c, &msg.Offer, msg)
		end(err)
	case *migration.Release:
		err = r.takeRelease(from, c, msg)
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

// admit decides whether the daemon may come, and reserves its place.
func (r *Runtime) admit(in *incoming) (needModule bool, err error) {
	o := &in.offer
	if !migration.Speaks(o.Version) {
		return false, migration.RefusedVersion(o.Version)
	}
	if r.notReady.Load() || !r.IsReady() {
		return false, migration.Failf(migration.NotReady, "node %s is not ready", r.env.Self)
	}
	if r.Node().Draining() {
		return false, migration.Failf(migration.Draining, "%v", daemon.ErrDraining)
	}
	if err := r.mayRun(o.Entity); err != nil {
		return false, migration.Failf(migration.Equivocated, "%v", err)
	}
	if err := r.room(); err != nil {
		return false, migration.Failf(migration.StoreFailed, "%v", err)
	}
	if err := daemon.ValidDaemonName(o.Name); err != nil {
		return false, migration.Failf(migration.ProtocolError, "%v", err)
	}
	if in.limits, err = target.Limits(o, r.env.Limits); err != nil {
		return false, migration.Failf(migration.StateFailed, "node %s: %v", r.env.Self, err)
	}
	if need, err := r.needsModule(o); err != nil {
		return false, err
	} else if needModule = need; need && r.registry.TakesModules() == 0 {
		return false, migration.Failf(migration.FactoryNotFound, "node %s does not have module %x and takes none from peers", r.env.Self, o.Module)
	}
	if err := r.presentAlready(in); err != nil {
		return false, err
	}
	if err := r.mayCome(in.from, o); err != nil {
		return false, err
	}
	old := r.table.Arrival(o.Entity)
	if !o.Identity && !in.public && r.keyless(o.Entity) {
		return false, errNoKeyHere(r.env.Self, o.Entity)
	}
	in.named = r.named(o.Entity, in.from)
	if old != nil && (old.from == in.from || old.unpark()) {
		if err := old.giveWay(); err != nil {
			return false, migration.Failf(migration.AlreadyMigrating, "an earlier attempt to move daemon %s here is not settled: %v", o.Entity.Origin(), err)
		}
	}
	if err := r.table.Admit(in); err != nil {
		return false, r.notAdmitted(in, err)
	}
	w, err := r.table.Find(o.Entity) // nothing of it leaves now that its place is taken
	if err == nil {
		if t := w.Went; !t.Known() || o.Epoch > t.Epoch || o.Epoch == t.Epoch && !t.Stopped {
			return needModule, nil
		}
		err = migration.Failf(migration.StaleEpoch, "node %s knows epoch %d of daemon %s, the offer is of epoch %d", r.env.Self, w.Went.Epoch, o.Entity.Origin(), o.Epoch)
	} else {
		err = migration.Failf(migration.StoreFailed, "%v", err)
	}
	r.table.Refuse(in)
	return false, err
}

// notAdmitted says to the source of a daemon why the table did not admit it, or did not
// reserve its name.
func (r *Runtime) notAdmitted(in *incoming, err error) error {
	o := &in.offer
	var full *table.FullError
	switch {
	case err == table.ErrArriving:
		return migration.Failf(migration.AlreadyMigrating, "daemon %s is on its way to node %s already", o.Entity.Origin(), r.env.Self)
	case errors.As(err, &full) && full.Peer:
		return migration.Failf(migration.BufferFull, "%d daemons are on their way from node %s to node %s, and not here yet; at most %d may be", full.Count, in.from, r.env.Self, ArrivalsOfPeer)
	case full != nil:
		return migration.Failf(migration.BufferFull, "%d daemons are on their way to node %s, and not here yet; at most %d may be", full.Count, r.env.Self, ArrivalsOfNode)
	case err == table.ErrPresent:
		return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s", r.env.Self, o.Entity.Origin())
	case err == table.ErrName:
		return migration.Failf(migration.AlreadyPresent, "node %s has another daemon named %q", r.env.Self, o.Name)
	}
	return err
}

// needsModule reports whether the source must send the module; an error when
// this node could not make the daemon even so.
func (r *Runtime) needsModule(o *migration.Offer) (bool, error) {
	native := r.registry.IsNative(o.Kind)
	if len(o.Module) == 0 {
		if !native {
			return false, migration.Failf(migration.FactoryNotFound, "node %s has no native kind %q", r.env.Self, o.Kind)
		}
		return false, nil
	}
	if native {
		return false, migration.Failf(migration.FactoryNotFound, "kind %q is native on node %s", o.Kind, r.env.Self)
	}
	if r.registry.Has([32]byte(o.Module)) {
		return false, nil
	}
	if o.ModuleSize == 0 {
		return false, migration.Failf(migration.FactoryNotFound, "neither node has module %x at hand", o.Module)
	}
	if o.ModuleSize > uint64(r.env.Limits.ModuleBytes) {
		return false, migration.Failf(migration.ModuleRefused, "the module has %d bytes, node %s takes %d", o.ModuleSize, r.env.Self, r.env.Limits.ModuleBytes)
	}
	return true, nil
}

// ignore is for writes whose failure shows in prepare: the store is poisoned
// then.
func ignore(error) {}

// presentAlready returns AlreadyPresent where the daemon is here. Where the source has
// it under an epoch that is not lower, it is asked for its proof first, which holds the
// copy here.
func (r *Runtime) presentAlready(in *incoming) error {
	o := &in.offer
	d := r.table.Daemon(o.Entity)
	if d == nil {
		return nil
	}
	if s, ok := d.Standing(); ok && o.Epoch >= s.Epoch && !r.holds.Has(d.Entity()) {
		if err := r.exchangeSome(r.env.Context, in.from, []channel.Standing{s}); err != nil {
			r.env.Logger.Debug("telling a migration's source where the daemon stands", "daemon", d.Entity().Origin(), "source", in.from, "error", err)
		}
	}
	if err := r.holds.MayServe(d.Entity()); err != nil {
		return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s: %v", r.env.Self, o.Entity.Origin(), err)
	}
	return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s", r.env.Self, o.Entity.Origin())
}
