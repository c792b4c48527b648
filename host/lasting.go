package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/chain"
	"wasmhost/host/daemon"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// lasting is what a daemon keeps for life beside its state: it goes along when the daemon
// moves, is copied to a standby or is restored from a snapshot. A node stores Spawned and
// Previous in the daemon's record and the loss in a record of its own.
type lasting struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Spawned  int64        // when the daemon was made, Unix nanoseconds
	Previous []byte       // the module before the last upgrade, 32 bytes; empty: there was none
	Errors   uint64       // events that it failed on
	Losses   []lossRecord // what of it is known to be lost: at most one
}

const (
	lastingVersion  = 1
	maxLastingBytes = 8 << 10 // of one, encoded
)

// decodeLasting reads what lasting's encode wrote, strictly.
func decodeLasting(b []byte) (*lasting, error) {
	l := &lasting{}
	if len(b) > maxLastingBytes {
		return nil, fmt.Errorf("facts of %d bytes, at most %d are allowed", len(b), maxLastingBytes)
	}
	if err := canon.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	switch {
	case l.Version != lastingVersion:
		return nil, fmt.Errorf("facts of version %d, this program reads version %d", l.Version, lastingVersion)
	case l.Spawned <= 0:
		return nil, fmt.Errorf("a daemon that was made at %d", l.Spawned)
	case len(l.Previous) != 0 && len(l.Previous) != 32:
		return nil, fmt.Errorf("a previous module with a digest of %d bytes", len(l.Previous))
	case l.Errors >= chain.CountLimit:
		return nil, fmt.Errorf("%d failed events: no daemon gets there", l.Errors)
	case len(l.Losses) > 1:
		return nil, fmt.Errorf("%d losses", len(l.Losses))
	}
	for _, loss := range l.Losses {
		if loss.Why != daemon.ClipWhy(loss.Why) || max(loss.From, loss.To, loss.Epoch) >= chain.CountLimit {
			return nil, errors.New("a loss that cannot be")
		}
	}
	return l, nil
}

func (l *lasting) encode() ([]byte, error) {
	b, err := canon.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding a daemon's facts: %w", err)
	}
	return b, nil
}

// lastingNow is what the daemon keeps for life, encoded. It needs d.mu.
func (d *hosted) lastingNow() ([]byte, error) {
	l := &lasting{Version: lastingVersion, Spawned: max(d.spawned.UnixNano(), 1), Previous: orEmpty(d.previous), Errors: d.stats.errors, Losses: []lossRecord{}}
	if loss := d.rt.LossOf(d.id); loss != nil {
		l.Losses = append(l.Losses, lossRecord{From: loss.From, To: loss.To, Epoch: loss.Epoch, Why: loss.Why, Time: loss.Time.UnixNano()})
	}
	return l.encode()
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// remember gives the daemon what it keeps for life, but for a loss: that is shown once the
// daemon is this node's. It needs d.mu.
func (d *hosted) remember(l *lasting) {
	if l != nil {
		d.spawned, d.previous, d.stats.errors = time.Unix(0, l.Spawned), canon.OrNil(l.Previous), l.Errors
	}
}

// keepLoss adds to b what the store keeps of a loss. A nil l has none.
func keepLoss(b *store.Batch, id identity.EntityID, l *lasting) error {
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
func (r *Runtime) showLoss(id identity.EntityID, l *lasting) {
	if l != nil && len(l.Losses) > 0 {
		r.setLoss(id, &l.Losses[0])
	}
}

// lastingOf is what the header says of its daemon; nil where it is of a version before 4.
func (h *SnapshotHeader) lastingOf() (*lasting, error) {
	if len(h.Lasting) == 0 {
		return nil, nil
	}
	return decodeLasting(h.Lasting)
}

// Spawned returns when the snapshot's daemon was made; the zero time where the snapshot
// does not say it.
func (h *SnapshotHeader) Spawned() time.Time {
	if l, err := h.lastingOf(); err == nil && l != nil {
		return time.Unix(0, l.Spawned)
	}
	return time.Time{}
}

// Previous returns the digest of the module that the daemon had before its last upgrade;
// nil where there was none, or the snapshot does not say it.
func (h *SnapshotHeader) Previous() []byte {
	if l, err := h.lastingOf(); err == nil && l != nil {
		return canon.OrNil(l.Previous)
	}
	return nil
}

// setLasting puts l into the header, or takes it out where l is nil. The snapshot is to be
// sealed again.
func (h *SnapshotHeader) setLasting(l []byte) {
	h.Lasting = l
	h.Version = h.formVersion()
}

// forStore returns the snapshot as the store keeps it: without what the daemon's record
// says, and signed again where key can. Earlier programs of the same data format read it.
func (s *Snapshot) forStore(key *identity.KeyPair) (*Snapshot, error) {
	if len(s.Header.Lasting) == 0 {
		return s, nil
	}
	out := *s
	out.Header.setLasting(nil)
	return &out, out.seal(key)
}

// arrivingKey is where the store keeps what a prepared daemon keeps for life, until it is
// this node's; of a standby's copy, until the copy is the daemon.
func arrivingKey(id identity.EntityID) []byte { return append([]byte("arriving/"), id[:]...) }

// storedLasting reads it; nil where there is none.
func (r *Runtime) storedLasting(id identity.EntityID) (*lasting, error) {
	b, err := r.env.Store.Get(store.Meta, arrivingKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := decodeLasting(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return l, nil
}

// wantsEarlier reports whether a module that daemons may be rolled back to is to be sent
// here: it is not here, and this node's rules let a peer's module in.
func (r *Runtime) wantsEarlier(ctx context.Context, digest store.Digest, size uint64) bool {
	if r.refuse || size == 0 || size > uint64(r.limits.ModuleBytes) {
		return false
	}
	if err := r.mayRunModule(digest); err != nil {
		r.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "module", fmt.Sprintf("%x", digest[:6]), "error", err)
		return false
	}
	_, err := r.Module(ctx, digest)
	return errors.Is(err, daemon.ErrModuleNotFound)
}
