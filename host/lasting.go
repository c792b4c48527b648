package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// lastingNow is what the daemon keeps for life, encoded. It needs d.mu.
func (d *hosted) lastingNow() ([]byte, error) {
	l := &snapshot.Facts{Version: snapshot.FactsVersion, Spawned: max(d.spawned.UnixNano(), 1), Previous: orEmpty(d.previous), Errors: d.stats.errors, Losses: []snapshot.LossRecord{}}
	if loss := d.node.LossOf(d.id); loss != nil {
		l.Losses = append(l.Losses, snapshot.LossRecord{From: loss.From, To: loss.To, Epoch: loss.Epoch, Why: loss.Why, Time: loss.Time.UnixNano()})
	}
	return l.Encode()
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// remember gives the daemon what it keeps for life, but for a loss: that is shown once the
// daemon is this node's. It needs d.mu.
func (d *hosted) remember(l *snapshot.Facts) {
	if l != nil {
		d.spawned, d.previous, d.stats.errors = time.Unix(0, l.Spawned), canon.OrNil(l.Previous), l.Errors
	}
}

// keepLoss adds to b what the store keeps of a loss. A nil l has none.
func keepLoss(b *store.Batch, id identity.EntityID, l *snapshot.Facts) error {
	if l == nil || len(l.Losses) == 0 {
		return nil
	}
	value, err := canon.Marshal(&l.Losses[0])
	if err == nil {
		b.Put(store.Meta, lossKey(id), value)
	}
	return err
}

// showLoss makes a loss known, once it is stored. A nil l has none.
func (r *Runtime) showLoss(id identity.EntityID, l *snapshot.Facts) {
	if l != nil && len(l.Losses) > 0 {
		r.setLoss(id, &l.Losses[0])
	}
}

// storedLasting reads what a daemon that comes here keeps for life; nil where there is none.
func storedLasting(st *store.Store, id identity.EntityID) (*snapshot.Facts, error) {
	b, err := st.Get(store.Meta, snapshot.ArrivingKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := snapshot.DecodeFacts(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return l, nil
}

// wantsEarlier reports whether a module that daemons may be rolled back to is to be sent
// here: it is not here, and this node's rules let a peer's module in.
func (r *Runtime) wantsEarlier(ctx context.Context, digest store.Digest, size uint64) bool {
	if r.refuse || size == 0 || size > uint64(r.env.Limits.ModuleBytes) {
		return false
	}
	if err := r.mayRunModule(digest); err != nil {
		r.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "module", fmt.Sprintf("%x", digest[:6]), "error", err)
		return false
	}
	_, err := r.Kinds().Module(ctx, digest)
	return errors.Is(err, daemon.ErrModuleNotFound)
}
