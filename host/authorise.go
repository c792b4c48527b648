package host

import (
	"bytes"
	"errors"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// Who may make a daemon this node's: the daemon itself, by its key, or a source that
// the operator of this node has named for that daemon.

// authorise returns nil where the check of a daemon's signature went well, or found
// none of a daemon that may come without. Any other outcome is Denied, or StateFailed
// where the signature is not the daemon's.
func (in *incoming) authorise(verified error) error {
	switch {
	case verified == nil:
		return nil
	case !errors.Is(verified, chain.ErrUnsigned):
		return migration.Failf(migration.StateFailed, "%v", verified)
	case in.named:
		return nil
	}
	return migration.Failf(migration.Denied, "daemon %s comes from node %s without its own signature, and node %s was not told to expect that: %v", in.offer.Entity.Origin(), in.from, in.env.Self, verified)
}

// handoff is a checkpoint by which a daemon was handed over to this node: signed by
// the daemon, or by leave of the operator. Only handedOver makes one.
type handoff struct{ check chain.Checkpoint }

// handedOver returns the hand-over of a release, of a daemon whose head is given.
// Errors: ProtocolError where it is another's, and those of authorise.
func (in *incoming) handedOver(rel *migration.Release, head chain.Hash) (handoff, error) {
	var h handoff
	c, o := &h.check, &in.offer
	if err := canon.Unmarshal(rel.Checkpoint, c); err != nil {
		return handoff{}, migration.Failf(migration.ProtocolError, "the hand-over's checkpoint: %v", err)
	}
	public := bytes.Equal(c.State, chain.HandoverPublic(in.from, in.env.Self))
	if c.Purpose != chain.PurposeHandover || c.Entity != o.Entity || c.Epoch != rel.Epoch || c.Sequence != rel.Sequence || c.Head != head ||
		public && o.Identity || !public && !bytes.Equal(c.State, chain.Handover(in.from, in.env.Self)) {
		return handoff{}, migration.Failf(migration.ProtocolError, "the hand-over is not of this daemon, or not to this node")
	}
	if err := in.authorise(c.Verify()); err != nil {
		return handoff{}, err
	}
	return h, nil
}

// reserve takes the daemon's name. Its state has come by then, and is proven to be the
// daemon's.
func (in *incoming) reserve() error {
	switch err := in.rt.table.ReserveName(in); err {
	case nil:
		return nil
	case table.ErrReplaced:
		return errPushedOut
	default:
		return in.rt.notAdmitted(in, err)
	}
}

// keep adds to the batch what is to outlive a restart of a prepared daemon: what was
// offered, and the key that does not come along, which was given to this node in
// memory.
func (in *incoming) keep(b *store.Batch) error {
	var rec []byte
	var err error
	if in.named {
		rec, err = canon.Marshal(&namedRecord{From: in.from, Offer: keepOffer(&in.offer), Named: true})
	} else {
		rec, err = canon.Marshal(&incomingRecord{From: in.from, Offer: keepOffer(&in.offer)})
	}
	if err != nil {
		return err
	}
	b.Put(store.Incoming, in.offer.Entity[:], rec)
	if len(in.receipts) > 0 {
		if err := in.rt.evidence.PutReceipts(b, in.receipts...); err != nil {
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
	key, err := in.rt.KeptIdentity(in.offer.Entity)
	if err == nil {
		key.Wipe()
		return nil // it is stored
	}
	if !errors.Is(err, ErrNotKept) {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	key = in.rt.expectedKey(in.offer.Entity)
	defer key.Wipe()
	lent := &hosted{node: in.rt.daemons, env: in.env, id: in.offer.Entity, key: key}
	if err := lent.keepKey(b); err != nil {
		return migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	in.lent = true
	return nil
}
