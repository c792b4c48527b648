package host

import (
	"context"
	"fmt"
	"time"

	"wasmhost/host/daemon"
	"wasmhost/host/internal/lifecycle"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// tombstone is what a node keeps for ever of a daemon that it answers for no more:
// where it went, or that it was stopped. Its epoch fences whatever is older.
type tombstone struct {
	_       struct{}        `cbor:",toarray"`
	Name    string          // empty when Stopped: nobody is to find it by that
	Node    identity.NodeID // where it went; the own node's when Stopped
	Epoch   uint64          // under which Node owns it, or owned it when it was stopped
	Time    int64
	Stopped bool
}

func (t tombstone) moved(id identity.EntityID) daemon.Moved {
	return daemon.Moved{Entity: id, Node: t.Node, Epoch: t.Epoch, Time: time.Unix(0, t.Time)}
}

// grave is the batch that replaces the daemon by a tombstone. It needs d.mu.
func (r *Runtime) grave(d *hosted, t tombstone) (*store.Batch, error) {
	rec, err := canon.Marshal(&t)
	if err != nil {
		return nil, err
	}
	b := &store.Batch{}
	d.forget(b)
	t.bury(b, d.id, rec)
	if word := r.lastWord(d, t.Stopped); word != nil {
		b.Put(store.Witnesses, d.id[:], word)
	}
	return b, nil
}

// bury writes the grave, and takes the daemon out of the tables.
func (r *Runtime) bury(d *hosted, t tombstone, grave *store.Batch) error {
	if r.env.Store != nil {
		large, err := r.env.Store.HistoryIsLarge(d.id, ^uint64(0))
		if err == nil {
			err = r.env.Store.Commit(grave)
		}
		if err != nil {
			return fmt.Errorf("storing where daemon %s went: %w", d.id.Origin(), err)
		}
		if large {
			r.giveBack(d.id)
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
func (r *Runtime) forgetHere(d *hosted, t tombstone, stored bool) {
	r.mu.Lock()
	delete(r.holds, d.id)
	delete(r.losses, d.id)
	r.held.Store(int32(len(r.holds)))
	r.mu.Unlock()
	r.departed.went(d.id, t, stored)
	r.release(d)
}

// Stop ends the daemon: its state, history and key are gone. A daemon that is
// migrating is ErrAlreadyMigrating. ctx bounds the waiting for the event that
// the daemon is processing.
func (r *Runtime) Stop(ctx context.Context, id identity.EntityID) error {
	if err := r.ready(); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if !d.moving.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	defer d.moving.Store(false)
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if d.life.State() == lifecycle.Moved {
		return d.gone
	}
	if err := d.replica.disown(ctx); err != nil {
		return err
	}
	t := tombstone{Node: r.env.Self, Epoch: d.epoch, Time: r.env.Clock().UnixNano(), Stopped: true}
	grave, err := r.grave(d, t)
	if err != nil {
		return err
	}
	if err := r.bury(d, t, grave); err != nil {
		return err
	}
	d.notify(daemon.Removed, "")
	if d.replica != nil {
		d.replica.end(daemon.ErrStopped)
	}
	d.end(lifecycle.Leave, fmt.Errorf("%w: %w", daemon.ErrStopped, &daemon.NotFoundError{Entity: id}))
	r.subscriber.LeaveAll(id)
	return nil
}

// MovedDaemons returns where the daemons went that left this node. ErrShuttingDown once
// the runtime ends.
func (r *Runtime) MovedDaemons() ([]daemon.Moved, error) {
	if !r.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	var out []daemon.Moved
	err := r.departed.each(func(id identity.EntityID, t tombstone) error {
		if !t.Stopped {
			out = append(out, t.moved(id))
		}
		return nil
	})
	return out, err
}
