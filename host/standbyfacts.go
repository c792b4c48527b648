package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
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
	b.Put(store.Meta, arrivingKey(in.s.id), bytes.Clone(m.Bytes))
	if receipts := in.goodReceipts(m.Receipts); len(receipts) > 0 {
		if err := in.r.evidence.PutReceipts(b, receipts...); err != nil {
			return err
		}
	}
	if err := in.r.env.Store.Commit(b); err != nil {
		return err
	}
	in.earlier = arrivingModule{}
	if len(l.Previous) != 32 || !in.r.wantsEarlier(ctx, store.Digest(l.Previous), 1) {
		return nil
	}
	in.earlier = arrivingModule{digest: store.Digest(l.Previous), size: uint64(in.r.env.Limits.ModuleBytes)}
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
			in.r.env.Logger.Warn("a receipt that came with a daemon's copy is not kept", "daemon", in.s.id.Origin(), "from", in.from, "error", err)
			continue
		}
		out = append(out, rec)
	}
	return out
}

// takeEarlier takes some of the module that was asked for. One that is not accepted is left
// out: the copy is good all the same.
func (in *receiving) takeEarlier(ctx context.Context, m *standby.Earlier) error {
	e := &in.earlier
	if e.size == 0 || !bytes.Equal(m.Module, e.digest[:]) {
		return fmt.Errorf("%w: module %x was not asked for", standby.ErrBadMessage, m.Module)
	}
	if uint64(len(e.wasm)+len(m.Bytes)) > e.size {
		return fmt.Errorf("%w: a module of more than %d bytes", daemon.ErrTooLarge, e.size)
	}
	if e.wasm = append(e.wasm, m.Bytes...); !m.Last {
		return nil
	}
	wasm := e.wasm
	digest := e.digest
	in.earlier = arrivingModule{}
	if sum := sha256.Sum256(wasm); sum != digest {
		return fmt.Errorf("%w: module %x came for %x", standby.ErrBadMessage, sum, digest)
	}
	if err := in.keepModule(ctx, wasm); err != nil {
		in.r.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "daemon", in.s.id.Origin(), "from", in.from, "error", err)
	}
	return nil
}
