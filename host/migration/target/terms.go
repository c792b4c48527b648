package target

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Terms are who may make a daemon a node's: the daemon itself, by its key, or a source
// that the operator of the node has named for that daemon.
type Terms struct {
	From, Self identity.NodeID
	Offer      *migration.Offer
	Named      bool // it may come without its own signature
}

// Authorise returns nil where the check of a daemon's signature went well, or found
// none of a daemon that may come without. Any other outcome is Denied, or StateFailed
// where the signature is not the daemon's.
func (t *Terms) Authorise(verified error) error {
	switch {
	case verified == nil:
		return nil
	case !errors.Is(verified, chain.ErrUnsigned):
		return migration.Failf(migration.StateFailed, "%v", verified)
	case t.Named:
		return nil
	}
	return migration.Failf(migration.Denied, "daemon %s comes from node %s without its own signature, and node %s was not told to expect that: %v", t.Offer.Entity.Origin(), t.From, t.Self, verified)
}

// Handoff is a checkpoint by which a daemon was handed over to a node: signed by the
// daemon, or by leave of the operator. Only HandedOver makes one.
type Handoff struct{ check chain.Checkpoint }

// Checkpoint returns the checkpoint.
func (h *Handoff) Checkpoint() chain.Checkpoint { return h.check }

// HandedOver returns the hand-over of a release, of a daemon whose head is given.
// Errors: ProtocolError where it is another's, and those of Authorise.
func (t *Terms) HandedOver(rel *migration.Release, head chain.Hash) (Handoff, error) {
	var h Handoff
	c, o := &h.check, t.Offer
	if err := canon.Unmarshal(rel.Checkpoint, c); err != nil {
		return Handoff{}, migration.Failf(migration.ProtocolError, "the hand-over's checkpoint: %v", err)
	}

	public := bytes.Equal(c.State, chain.HandoverPublic(t.From, t.Self))
	if c.Purpose != chain.PurposeHandover || c.Entity != o.Entity || c.Epoch != rel.Epoch || c.Sequence != rel.Sequence || c.Head != head ||
		public && o.Identity || !public && !bytes.Equal(c.State, chain.Handover(t.From, t.Self)) {
		return Handoff{}, migration.Failf(migration.ProtocolError, "the hand-over is not of this daemon, or not to this node")
	}
	if err := t.Authorise(c.Verify()); err != nil {
		return Handoff{}, err
	}

	return h, nil
}

// Receipts returns those of the receipts that came with the daemon that are good, and
// logs the others.
func (t *Terms) Receipts(all [][]byte, log *slog.Logger) []*chain.Receipt {
	var good []*chain.Receipt
	for _, b := range all {
		rec, err := chain.DecodeReceipt(b)
		if err == nil {
			err = errors.Join(rec.Verify(), t.mayKeep(rec))
		}

		if err != nil {
			log.Warn("a receipt that came with a daemon is not kept", "daemon", t.Offer.Entity.Origin(), "from", t.From, "error", err)
			continue
		}

		good = append(good, rec)
	}

	return good
}

func (t *Terms) mayKeep(rec *chain.Receipt) error {
	if rec.Facts.Entity != t.Offer.Entity || rec.Facts.Epoch > t.Offer.Epoch {
		return fmt.Errorf("%w: of daemon %s, epoch %d", chain.ErrBadReceipt, rec.Facts.Entity.Origin(), rec.Facts.Epoch)
	}
	return nil
}
