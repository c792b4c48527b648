package target

import (
	"errors"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
)

// admit decides whether the daemon may come, and reserves its place.
func (t *Arrivals) admit(in *Arrival) (needModule bool, err error) {
	o := &in.offer
	if !migration.Speaks(o.Version) {
		return false, migration.RefusedVersion(o.Version)
	}
	if err := t.node.Takes(o.Entity); err != nil {
		return false, err
	}
	if err := daemon.ValidDaemonName(o.Name); err != nil {
		return false, migration.Failf(migration.ProtocolError, "%v", err)
	}
	if in.limits, err = Limits(o, t.env.Limits); err != nil {
		return false, migration.Failf(migration.StateFailed, "node %s: %v", t.env.Self, err)
	}
	if need, err := t.needsModule(o); err != nil {
		return false, err
	} else if needModule = need; need && t.registry.TakesModules() == 0 {
		return false, migration.Failf(migration.FactoryNotFound, "node %s does not have module %x and takes none from peers", t.env.Self, o.Module)
	}
	if err := t.node.Present(in.from, o); err != nil {
		return false, err
	}
	if err := t.mayCome(in.from, o); err != nil {
		return false, err
	}
	old := t.table.Arrival(o.Entity)
	if !o.Identity && !in.public && t.keyless(o.Entity) {
		return false, errNoKeyHere(t.env.Self, o.Entity)
	}
	in.named = t.Named(o.Entity, in.from)
	if old != nil && (old.from == in.from || old.unpark()) {
		if err := old.giveWay(); err != nil {
			return false, migration.Failf(migration.AlreadyMigrating, "an earlier attempt to move daemon %s here is not settled: %v", o.Entity.Origin(), err)
		}
	}
	if err := t.table.Admit(in); err != nil {
		return false, t.notAdmitted(in, err)
	}
	w, err := t.known.Find(o.Entity) // nothing of it leaves now that its place is taken
	if err == nil {
		if g := w.Went; !g.Known() || o.Epoch > g.Epoch || o.Epoch == g.Epoch && !g.Stopped {
			return needModule, nil
		}
		err = migration.Failf(migration.StaleEpoch, "node %s knows epoch %d of daemon %s, the offer is of epoch %d", t.env.Self, w.Went.Epoch, o.Entity.Origin(), o.Epoch)
	} else {
		err = migration.Failf(migration.StoreFailed, "%v", err)
	}
	t.table.Refuse(in)
	return false, err
}

// notAdmitted says to the source of a daemon why the table did not admit it, or did not
// reserve its name.
func (t *Arrivals) notAdmitted(in *Arrival, err error) error {
	o := &in.offer
	var full *table.FullError
	switch {
	case err == table.ErrArriving:
		return migration.Failf(migration.AlreadyMigrating, "daemon %s is on its way to node %s already", o.Entity.Origin(), t.env.Self)
	case errors.As(err, &full) && full.Peer:
		return migration.Failf(migration.BufferFull, "%d daemons are on their way from node %s to node %s, and not here yet; at most %d may be", full.Count, in.from, t.env.Self, ArrivalsOfPeer)
	case full != nil:
		return migration.Failf(migration.BufferFull, "%d daemons are on their way to node %s, and not here yet; at most %d may be", full.Count, t.env.Self, ArrivalsOfNode)
	case err == table.ErrPresent:
		return migration.Failf(migration.AlreadyPresent, "node %s has daemon %s", t.env.Self, o.Entity.Origin())
	case err == table.ErrName:
		return migration.Failf(migration.AlreadyPresent, "node %s has another daemon named %q", t.env.Self, o.Name)
	}
	return err
}

// needsModule reports whether the source must send the module; an error when
// this node could not make the daemon even so.
func (t *Arrivals) needsModule(o *migration.Offer) (bool, error) {
	native := t.registry.IsNative(o.Kind)
	if len(o.Module) == 0 {
		if !native {
			return false, migration.Failf(migration.FactoryNotFound, "node %s has no native kind %q", t.env.Self, o.Kind)
		}
		return false, nil
	}
	if native {
		return false, migration.Failf(migration.FactoryNotFound, "kind %q is native on node %s", o.Kind, t.env.Self)
	}
	if t.registry.Has([32]byte(o.Module)) {
		return false, nil
	}
	if o.ModuleSize == 0 {
		return false, migration.Failf(migration.FactoryNotFound, "neither node has module %x at hand", o.Module)
	}
	if o.ModuleSize > uint64(t.env.Limits.ModuleBytes) {
		return false, migration.Failf(migration.ModuleRefused, "the module has %d bytes, node %s takes %d", o.ModuleSize, t.env.Self, t.env.Limits.ModuleBytes)
	}
	return true, nil
}

// ignore is for writes whose failure shows in prepare: the store is poisoned
// then.
func ignore(error) {}
