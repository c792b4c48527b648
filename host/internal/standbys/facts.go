package standbys

import (
	"bytes"
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// What a daemon keeps for life goes to its standbys beside its record.

// takeLasting keeps what the daemon keeps for life until the copy is the daemon, and asks
// for the module before its last upgrade where this node's rules let it in.
func (in *receiving) takeLasting(ctx context.Context, m *standby.Facts) error {
	if in.version < standby.Lasting {
		return fmt.Errorf("%w: a %T in version %d", standby.ErrBadMessage, m, in.version)
	}
	l, err := snapshot.DecodeFacts(m.Bytes)
	if err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	b := &store.Batch{}
	b.Put(store.Meta, snapshot.ArrivingKey(in.s.id), bytes.Clone(m.Bytes))
	if receipts := in.goodReceipts(m.Receipts); len(receipts) > 0 {
		if err := in.set.receipts.PutReceipts(b, receipts...); err != nil {
			return err
		}
	}
	if err := in.set.env.Store.Commit(b); err != nil {
		return err
	}
	in.earlier = arrivingModule{}
	if len(l.Previous) != 32 || !in.set.node.WantsEarlier(ctx, store.Digest(l.Previous)) {
		return nil
	}
	in.earlier = arrivingModule{digest: store.Digest(l.Previous), size: uint64(in.set.env.Limits.ModuleBytes)}
	in.sending.Lock()
	defer in.sending.Unlock()
	return standby.SendNow(in.conn, &standby.Need{Module: l.Previous})
}

// goodReceipts are those of the daemon's moves that hold.
func (in *receiving) goodReceipts(all [][]byte) (out []*chain.Receipt) {
	for _, b := range all {
		rec, err := chain.DecodeReceipt(b)
		if err == nil {
			err = rec.Verify()
		}
		if err == nil && rec.Facts.Entity != in.s.id {
			err = fmt.Errorf("%w: of daemon %s", chain.ErrBadReceipt, rec.Facts.Entity.Origin())
		}
		if err != nil {
			in.set.env.Logger.Warn("a receipt that came with a daemon's copy is not kept", "daemon", in.s.id.Origin(), "from", in.from, "error", err)
			continue
		}
		out = append(out, rec)
	}
	return out
}
