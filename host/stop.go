package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

func movedBy(t table.Tombstone, id identity.EntityID) daemon.Moved {
	return daemon.Moved{Entity: id, Node: t.Node, Epoch: t.Epoch, Time: time.Unix(0, t.Time)}
}

// grave is the batch that replaces the daemon by a tombstone. It needs d.mu.
func (r *Runtime) grave(d *engine.Daemon, t table.Tombstone) (*store.Batch, error) {
	b := &store.Batch{}
	d.Making().Forget(b)
	if err := t.Bury(b, d.Entity()); err != nil {
		return nil, err
	}
	if word := r.lastWord(d, t.Stopped); word != nil {
		if err := evidence.PutLastWord(b, d.Entity(), word, d.Position().Head, d.Position().HeadPayload); err != nil {
			r.env.Logger.Error("keeping a daemon's last word", "daemon", d.Entity().Origin(), "error", err)
		}
	}
	return b, nil
}

// bury writes the grave, and takes the daemon out of the tables.
func (r *Runtime) bury(d *engine.Daemon, t table.Tombstone, grave *store.Batch) error {
	if r.env.Store != nil {
		large, err := r.env.Store.HistoryIsLarge(d.Entity(), ^uint64(0))
		if err == nil {
			err = r.env.Store.Commit(grave)
		}
		if err != nil {
			return fmt.Errorf("storing where daemon %s went: %w", d.Entity().Origin(), err)
		}
		if large {
			r.giveBack(d.Entity())
		}
	}
	r.forgetHere(d, t, true)
	return nil
}

// giveBack has the store give back the space of a daemon's history, which was deleted,
// beside other work. Where that fails the engine does it later.
func (r *Runtime) giveBack(id identity.EntityID) {
	if !r.env.Work.Begin() {
		return
	}
	go func() {
		defer r.env.Work.Done()
		if err := r.env.Store.Reclaim(r.env.Context, id, ^uint64(0)); err != nil && r.env.Context.Err() == nil {
			r.env.Logger.Warn("giving back the space of a daemon that is gone", "daemon", id.Origin(), "error", err)
		}
	}()
}

// forgetHere takes the daemon out of the tables; stored says that the store has its
// tombstone.
func (r *Runtime) forgetHere(d *engine.Daemon, t table.Tombstone, stored bool) {
	r.holds.Drop(d.Entity())
	r.losses.Drop(d.Entity())
	for _, id := range r.table.Leave(d, t, stored) {
		r.evidence.ForgetReceipts(id)
	}
}

// Stop is Daemons.Remove, except that it does nothing while the runtime shuts down:
// daemons end with it then, and those that the store has come back.
func (r *Runtime) Stop(ctx context.Context, id identity.EntityID) error {
	err := r.Daemons().Remove(ctx, id)
	if errors.Is(err, daemon.ErrShuttingDown) {
		return nil
	}
	return err
}

// Remove ends the daemon: its state, history and key are gone. A daemon that is
// migrating is ErrAlreadyMigrating, one that is not here *NotFoundError or *MovedError.
// ctx bounds the waiting for the event that the daemon is processing.
func (r Daemons) Remove(ctx context.Context, id identity.EntityID) error {
	return r.rt.remove(ctx, id)
}

// remove is Daemons.Remove.
func (r *Runtime) remove(ctx context.Context, id identity.EntityID) error {
	if err := r.ready(); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if !d.Moves().BeginMove() {
		return fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	defer d.Moves().EndMove()
	if err := d.LockContext(ctx); err != nil {
		return err
	}
	defer d.Unlock()
	if d.Position().State == lifecycle.Moved {
		return d.Position().Gone
	}
	if err := r.cluster.Disown(ctx, d); err != nil {
		return err
	}
	t := table.Tombstone{Node: r.env.Self, Epoch: d.Position().Epoch, Time: r.env.Clock().UnixNano(), Stopped: true}
	grave, err := r.grave(d, t)
	if err != nil {
		return err
	}
	if err := r.bury(d, t, grave); err != nil {
		return err
	}
	d.Notify(daemon.Removed, "")
	r.cluster.Resign(d, daemon.ErrStopped)
	d.End(lifecycle.Leave, fmt.Errorf("%w: %w", daemon.ErrStopped, &daemon.NotFoundError{Entity: id}))
	r.subscriber.LeaveAll(id)
	return nil
}

// Moved returns where the daemons went that left this node. ErrShuttingDown once
// the runtime ends.
func (r Places) Moved() ([]daemon.Moved, error) {
	if !r.rt.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}
	defer r.rt.env.Work.Done()
	var out []daemon.Moved
	err := r.rt.table.EachTombstone(func(id identity.EntityID, t table.Tombstone) error {
		if !t.Stopped {
			out = append(out, movedBy(t, id))
		}
		return nil
	})
	return out, err
}

// movedAs is table.MovedBy while the runtime runs.
func (r *Runtime) movedAs(prefix []byte, match func(identity.EntityID, string) bool) ([]identity.EntityID, error) {
	if !r.env.Work.Begin() { // the store may be closed
		return nil, daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	return r.table.MovedBy(prefix, match)
}

// movedBegunBy is table.MovedBegunBy while the runtime runs.
func (r *Runtime) movedBegunBy(text string, match func(identity.EntityID, string) bool) ([]identity.EntityID, error) {
	if !r.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	return r.table.MovedBegunBy(text, match)
}

// tidyDeparted keeps what is known of the daemons that left in order, until the runtime
// ends. It returns at once.
func (r *Runtime) tidyDeparted() {
	if r.env.Store == nil {
		return
	}
	r.env.Work.Go(func() {
		if err := r.table.CheckIndex(r.env.Context); err != nil && r.env.Context.Err() == nil {
			r.env.Logger.Error("checking the index of daemons that moved away: they are looked for without it", "error", err)
		}
		for {
			if err := r.evidence.Trim(r.env.Context, r.table); err != nil && r.env.Context.Err() == nil {
				r.env.Logger.Error("letting go of what is kept of daemons that left long ago", "error", err)
			}
			select {
			case <-r.table.Tidy():
			case <-r.env.Context.Done():
				return
			}
		}
	})
}
