package target

import (
	"errors"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
)

// terms are on what the daemon may become this node's.
func (in *Arrival) terms() *Terms {
	return &Terms{From: in.from, Self: in.env.Self, Offer: &in.offer, Named: in.named}
}

// reserve takes the daemon's name. Its state has come by then, and is proven to be the
// daemon's.
func (in *Arrival) reserve() error {
	switch err := in.of.table.ReserveName(in); err {
	case nil:
		return nil
	case table.ErrReplaced:
		return ErrPushedOut
	default:
		return in.of.notAdmitted(in, err)
	}
}

// keep adds to the batch what is to outlive a restart of a prepared daemon: what was
// offered, and the key that does not come along, which was given to this node in
// memory.
func (in *Arrival) keep(b *store.Batch) error {
	rec, err := (&Kept{From: in.from, Offer: in.offer, Named: in.named}).Encode()
	if err != nil {
		return err
	}
	b.Put(store.Incoming, in.offer.Entity[:], rec)
	if len(in.receipts) > 0 {
		if err := in.of.evidence.PutReceipts(b, in.receipts...); err != nil {
			return err
		}
	}
	if in.lasting != nil {
		facts, err := in.lasting.Encode()
		if err != nil {
			return err
		}
		b.Put(store.Meta, snapshot.ArrivingKey(in.offer.Entity), facts)
	}
	if in.offer.Identity || in.public {
		return nil
	}
	key, err := in.of.known.KeptIdentity(in.offer.Entity)
	if err == nil {
		key.Wipe()
		return nil // it is stored
	}
	if !errors.Is(err, daemon.ErrNotKept) {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	key = in.of.expectedKey(in.offer.Entity)
	defer key.Wipe()
	lent := engine.Bare(in.of.daemons, in.offer.Entity, key)
	if err := lent.Moves().KeepKey(b); err != nil {
		return migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	in.lent = true
	return nil
}
