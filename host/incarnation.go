package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A node that was restored from a backup is the same node, by its key, in another
// incarnation. Each daemon of it is held as unconfirmed: the node, or another to which
// the daemon moved, may have gone further since the backup. So are the channels of the
// node, until an operator has confirmed the node as a whole.
//
//	restored     -> unconfirmed: daemons held, channels closed; silence changes nothing
//	unconfirmed  -> confirmed:   by Unconfirmed.ConfirmNode, once no daemon is held as unconfirmed

// Incarnation says which life of a node a data directory is of.
type Incarnation struct {
	Number    uint64    // how often the node was restored; 0: never
	Backup    string    // id of the backup; empty: never restored
	Taken     time.Time // when the backup was made
	Restored  time.Time
	Addr      string // where the node listened when the backup was made; empty: not known
	Confirmed bool   // an operator has confirmed the node, or it was never restored
}

// incarnationKey is the record in store.Meta.
var incarnationKey = []byte("incarnation")

// storedIncarnation is how the store keeps an Incarnation.
type storedIncarnation struct {
	_         struct{} `cbor:",toarray"`
	Number    uint64
	Backup    string
	Taken     int64
	Restored  int64
	Addr      string
	Confirmed bool
}

// IncarnationOf returns the incarnation of the node that a store is of.
func IncarnationOf(s *store.Store) (Incarnation, error) {
	b, err := s.Get(store.Meta, incarnationKey)
	if errors.Is(err, store.ErrNotFound) {
		return Incarnation{Confirmed: true}, nil
	}
	var in storedIncarnation
	if err == nil {
		err = canon.Unmarshal(b, &in)
	}
	if err != nil {
		return Incarnation{}, fmt.Errorf("%w: the node's incarnation: %w", store.ErrCorrupt, err)
	}
	return Incarnation{Number: in.Number, Backup: in.Backup, Taken: time.Unix(0, in.Taken), Restored: time.Unix(0, in.Restored), Addr: in.Addr, Confirmed: in.Confirmed}, nil
}

func (in Incarnation) put(b *store.Batch) error {
	rec, err := canon.Marshal(&storedIncarnation{Number: in.Number, Backup: in.Backup, Taken: in.Taken.UnixNano(), Restored: in.Restored.UnixNano(), Addr: in.Addr, Confirmed: in.Confirmed})
	if err != nil {
		return err
	}
	b.Put(store.Meta, incarnationKey, rec)
	return nil
}

// MarkRestored makes a store, which no runtime has, one of a restored node: it holds
// every daemon as unconfirmed, and returns how many there are. in.Confirmed is ignored.
// All of it is durable at once.
func MarkRestored(s *store.Store, in Incarnation) (daemons int, err error) {
	in.Confirmed = false
	why := fmt.Sprintf("it comes from backup %s of %s; a node may have gone further with it since, and none has been proven not to", in.Backup, in.Taken.UTC().Format(time.RFC3339))
	hold := holds.Unconfirmed(why, in.Restored)
	b := &store.Batch{}
	for _, t := range []store.Table{store.Daemons, store.Incoming} {
		err := s.Scan(t, func(k, _ []byte) error {
			var id identity.EntityID
			if err := id.UnmarshalBinary(k); err != nil {
				return fmt.Errorf("%w: daemon %x: %w", store.ErrCorrupt, k, err)
			}
			daemons++
			return hold.Put(b, id)
		})
		if err != nil {
			return 0, err
		}
	}
	if err := in.put(b); err != nil {
		return 0, err
	}
	if err := s.Commit(b); err != nil {
		return 0, fmt.Errorf("marking what was restored: %w", err)
	}
	return daemons, nil
}

// recoverIncarnation finds out which life of the node this is.
func (r *Runtime) recoverIncarnation() error {
	in, err := IncarnationOf(r.env.Store)
	if err != nil {
		return err
	}
	r.incarnation.Store(&in)
	if !in.Confirmed {
		r.env.Logger.Error("this node was restored from a backup: its daemons and channels are held until they are confirmed", "backup", in.Backup, "of", in.Taken, "incarnation", in.Number,
			"decide with", "wasmhost backup pending")
	}
	return nil
}

// Incarnation returns which life of the node this is.
func (r Unconfirmed) Incarnation() Incarnation {
	if in := r.rt.incarnation.Load(); in != nil {
		return *in
	}
	return Incarnation{Confirmed: true}
}

// channelsOpen returns nil, or why the node's own channels are closed: another node of
// the same key may have published more there.
func (r *Runtime) channelsOpen() error {
	if in := r.incarnation.Load(); in != nil && !in.Confirmed {
		return fmt.Errorf("%w: %w", channel.ErrNotReady, daemon.ErrUnconfirmed)
	}
	return nil
}

// ConfirmNode ends the holding of the node's channels: this incarnation goes on, and each
// channel under a new birth. While
// a daemon is held as unconfirmed it is ErrHeld, and ErrTwin
// while another incarnation is reached. A node that is confirmed stays so.
func (r Unconfirmed) ConfirmNode(ctx context.Context) error {
	if err := errors.Join(r.rt.ready(), r.rt.room()); err != nil {
		return err
	}
	in := r.rt.Unconfirmed().Incarnation()
	if in.Confirmed {
		return nil
	}
	if err := r.rt.noTwin(ctx); err != nil {
		return err
	}
	for _, h := range r.rt.Unconfirmed().List() {
		if h.Reason == daemon.HoldUnconfirmed {
			return &daemon.HeldError{Entity: h.Entity, Reason: h.Reason, Why: "it must be confirmed or given up before the node is"}
		}
	}
	in.Confirmed = true
	b := &store.Batch{}
	if err := in.put(b); err != nil {
		return err
	}
	if err := r.rt.broker.Confirm(b); err != nil {
		return fmt.Errorf("confirming the node: %w", err)
	}
	r.rt.incarnation.Store(&in)
	r.rt.env.Logger.Warn("an operator confirmed the restored node: what another incarnation of it did after the backup is lost", "backup", in.Backup, "incarnation", in.Number)
	return nil
}

// TwinStanding is how far a node is with a daemon.
type TwinStanding struct {
	Entity   identity.EntityID
	Epoch    uint64
	Sequence uint64 // of the last output
	Applied  uint64 // events
}

// Further reports whether s is beyond o, as far as numbers tell.
func (s TwinStanding) Further(o TwinStanding) bool {
	if s.Epoch != o.Epoch {
		return s.Epoch > o.Epoch
	}
	return s.Applied > o.Applied || s.Applied == o.Applied && s.Sequence > o.Sequence
}

// Standings returns how far this node is with the daemons that it serves. Those that
// it holds are not among them.
func (r Unconfirmed) Standings() []TwinStanding {
	var out []TwinStanding
	for _, i := range r.rt.Daemons().List() {
		if r.rt.holds.Of(i.Entity) == nil {
			out = append(out, TwinStanding{i.Entity, i.Epoch, i.Sequence, i.EventsProcessed})
		}
	}
	return out
}

// twinServes notes how far the twin is with the daemons that are held as unconfirmed.
// They stay held, and say so.
func (r *Runtime) twinServes(t *Twin) error {
	b := &store.Batch{}
	for _, s := range t.Standings {
		h := r.holds.Of(s.Entity)
		here, err := r.Daemons().Inspect(s.Entity)
		if h == nil || h.Reason != daemon.HoldUnconfirmed || err != nil {
			continue
		}
		mine := TwinStanding{s.Entity, here.Epoch, here.Sequence, here.EventsProcessed}
		how := "serves it"
		if s.Further(mine) {
			how = "has gone further"
		}
		next := *h
		next.Node, next.Epoch, next.Index = r.env.Self, s.Epoch, s.Applied
		next.Why = daemon.ClipWhy(fmt.Sprintf("this node itself, from before it was restored, runs at %s and %s: it has applied %d events under epoch %d, this copy %d under epoch %d",
			t.Addr, how, s.Applied, s.Epoch, mine.Applied, mine.Epoch))
		if next.Why == h.Why {
			continue
		}
		if err := next.Put(b, s.Entity); err != nil {
			return err
		}
		r.holds.Replace(s.Entity, h, &next)
		if h.Node != r.env.Self {
			r.env.Logger.Error("a restored daemon is served by another incarnation of this node", "daemon", s.Entity.Origin(), "name", here.Name, "why", next.Why, "decide with", "wasmhost backup give-way DAEMON")
		}
	}
	if err := r.env.Store.Commit(b); err != nil {
		return fmt.Errorf("storing why daemons are held: %w", err)
	}
	return nil
}

// leaveToTwin drops the held daemon for the other incarnation of this node, which goes
// further with it: no tombstone, for the node that has it is this one by its key. It
// needs d.mu.
func (r *Runtime) leaveToTwin(d *engine.Daemon, h *holds.Record, seen *Twin) (chain.Mended, error) {
	if seen == nil || !slices.ContainsFunc(seen.Standings, func(s TwinStanding) bool { return s.Entity == d.Entity() }) {
		return chain.Mended{}, fmt.Errorf("%w: the other incarnation of this node is not reached any more, or does not serve it", daemon.ErrNoneFurther)
	}
	fact := chain.Mended{How: chain.MendDrop, After: d.Position().Head.Sequence, Epoch: max(d.Position().Epoch, h.Epoch)}
	if mine := (TwinStanding{d.Entity(), d.Position().Epoch, d.Position().Head.Sequence, d.Position().Applied}); mine.Further(TwinStanding{Epoch: h.Epoch, Applied: h.Index, Sequence: mine.Sequence}) {
		return chain.Mended{}, fmt.Errorf("%w: the copy here has applied %d events under epoch %d, the other %d under epoch %d", daemon.ErrNoneFurther, mine.Applied, mine.Epoch, h.Index, h.Epoch)
	}
	if err := r.keepEvidence(d.Entity(), d.Position().Epoch, "given up for another incarnation of this node"); err != nil {
		return chain.Mended{}, err
	}
	b := &store.Batch{}
	stored.Forget(b, d.Entity())
	if err := r.env.Store.Commit(b); err != nil {
		return chain.Mended{}, fmt.Errorf("giving up daemon %s: %w", d.Entity().Origin(), err)
	}
	r.holds.Drop(d.Entity())
	r.table.Remove(d)
	r.cluster.Resign(d, daemon.ErrStopped)
	d.End(lifecycle.Leave, &daemon.NotFoundError{Entity: d.Entity()})
	r.subscriber.LeaveAll(d.Entity())
	r.env.Logger.Warn("a held daemon was given up for another incarnation of this node; its history is kept as evidence", "daemon", d.Entity().Origin(), "name", d.Name(), "epoch", h.Epoch)
	return fact, nil
}
