package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"wasmhost/host/chain"
	"wasmhost/host/internal/lock"
	"wasmhost/host/migration"
	"wasmhost/host/snapshot"
	"wasmhost/host/store"
	"wasmhost/identity"
)

// Receipts are made at the end of a migration: the target signs as it confirms,
// the source when it hears that, and the target gets the whole. They are kept by
// both, and travel with the daemon.

// mostReceipts is how many are kept of one daemon: those of its last moves. Of how
// many daemons that left, see mostRemembered.
const mostReceipts = 64

// receipts keeps them where there is no store.
type receipts struct {
	mu lock.Mutex[lock.Leaf]
	of map[identity.EntityID]map[uint64][]byte // by epoch
}

// forget drops the receipts of a daemon that left.
func (r *receipts) forget(id identity.EntityID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, id)
}

// Receipts returns the receipts of the daemon's moves that this node knows, by
// epoch. They are verified.
func (r *Runtime) Receipts(id identity.EntityID) ([]*chain.Receipt, error) {
	var out []*chain.Receipt
	err := r.scanReceipts(id, func(_ uint64, b []byte) error {
		rec, err := chain.DecodeReceipt(b)
		if err == nil && rec.Whole() {
			err = rec.Verify()
		}
		if err != nil {
			return fmt.Errorf("%w: a receipt of daemon %s: %w", store.ErrCorrupt, id.Origin(), err)
		}
		out = append(out, rec)
		return nil
	})
	return out, err
}

// eachReceipt visits all that this node has.
func (r *Runtime) eachReceipt(visit func(*chain.Receipt) error) error {
	decode := func(b []byte) error {
		rec, err := chain.DecodeReceipt(b)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		return visit(rec)
	}
	if r.env.Store != nil {
		return r.env.Store.Scan(store.Receipts, func(_, v []byte) error { return decode(v) })
	}
	r.receipts.mu.Lock()
	defer r.receipts.mu.Unlock()
	for _, of := range r.receipts.of {
		for _, b := range of {
			if err := decode(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanReceipts visits them by epoch.
func (r *Runtime) scanReceipts(id identity.EntityID, visit func(epoch uint64, b []byte) error) error {
	if r.env.Store != nil {
		return r.env.Store.ScanPrefix(store.Receipts, id[:], func(k, v []byte) error {
			if len(k) != len(id)+8 {
				return fmt.Errorf("%w: receipt %x", store.ErrCorrupt, k)
			}
			return visit(binary.BigEndian.Uint64(k[len(id):]), v)
		})
	}
	r.receipts.mu.Lock()
	defer r.receipts.mu.Unlock()
	epochs := make([]uint64, 0, len(r.receipts.of[id]))
	for e := range r.receipts.of[id] {
		epochs = append(epochs, e)
	}
	slices.Sort(epochs)
	for _, e := range epochs {
		if err := visit(e, r.receipts.of[id][e]); err != nil {
			return err
		}
	}
	return nil
}

func receiptKey(id identity.EntityID, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(id)+8), id[:]...), epoch)
}

// putReceipts adds those of one daemon to b, and lets go of those that are too
// many.
func (r *Runtime) putReceipts(b *store.Batch, all ...*chain.Receipt) error {
	values := make(map[uint64][]byte, len(all))
	for _, rec := range all {
		value, err := rec.Encode()
		if err != nil {
			return err
		}
		values[rec.Facts.Epoch] = value
	}
	id := all[0].Facts.Entity
	if r.env.Store == nil {
		r.receipts.mu.Lock()
		defer r.receipts.mu.Unlock()
		if r.receipts.of == nil {
			r.receipts.of = make(map[identity.EntityID]map[uint64][]byte)
		}
		if r.receipts.of[id] == nil {
			r.receipts.of[id] = make(map[uint64][]byte)
		}
		of := r.receipts.of[id]
		maps.Copy(of, values)
		for epochs := slices.Sorted(maps.Keys(of)); len(epochs) > mostReceipts; epochs = epochs[1:] {
			delete(of, epochs[0])
		}
		return nil
	}
	var old []uint64 // that stay as they are, rising
	err := r.scanReceipts(id, func(e uint64, _ []byte) error {
		if _, again := values[e]; !again {
			old = append(old, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for ; len(old) > 0 && len(old)+len(values) > mostReceipts; old = old[1:] {
		b.Delete(store.Receipts, receiptKey(id, old[0]))
	}
	for epoch, value := range values {
		b.Put(store.Receipts, receiptKey(id, epoch), value)
	}
	return nil
}

// keepReceipt stores it on its own.
func (r *Runtime) keepReceipt(rec *chain.Receipt) error {
	b := &store.Batch{}
	if err := r.putReceipts(b, rec); err != nil || r.env.Store == nil {
		return err
	}
	return r.env.Store.Commit(b)
}

// receiptAt returns the receipt of the daemon's move to epoch; nil where there is
// none.
func (r *Runtime) receiptAt(id identity.EntityID, epoch uint64) (*chain.Receipt, error) {
	var value []byte
	if r.env.Store != nil {
		var err error
		if value, err = r.env.Store.Get(store.Receipts, receiptKey(id, epoch)); errors.Is(err, store.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	} else {
		r.receipts.mu.Lock()
		value = r.receipts.of[id][epoch]
		r.receipts.mu.Unlock()
		if value == nil {
			return nil, nil
		}
	}
	return chain.DecodeReceipt(value)
}

// facts are what a receipt of a move of the daemon says. root is the hash of its
// memory, where that is known. It needs d.mu, or the daemon to be paused.
func (d *hosted) facts(id migration.ID, from, to identity.NodeID, rel *migration.Release, root []byte) (chain.ReceiptFacts, error) {
	f := chain.ReceiptFacts{Version: chain.ReceiptVersion, Migration: id, Entity: d.id, Kind: d.kind, Module: d.module, From: from, To: to,
		Epoch: rel.Epoch, Sequence: rel.Sequence, Applied: d.applied, Head: chain.Hash(rel.Head), State: root}
	if of, ok := d.daemon.(rooter); ok && len(root) == 0 && d.form() == snapshot.FormMemory {
		root, err := of.Root()
		if err != nil {
			return f, fmt.Errorf("hashing the memory of daemon %s: %w", d.id.Origin(), err)
		}
		f.State = root[:]
	}
	return f, nil
}

// rooter is a Daemon whose memory has a hash.
type rooter interface{ Root() ([32]byte, error) }

// signArrival makes the target's half.
func (r *Runtime) signArrival(f chain.ReceiptFacts) (*chain.Receipt, error) {
	rec := &chain.Receipt{Facts: f}
	return rec, rec.SignTarget(r.env.Node, chain.ReceiptTarget{Activated: r.env.Clock().UnixNano()})
}

// signMove adds the source's half, to what the target said.
func (m *Migration) signMove(said []byte) (*chain.Receipt, error) {
	rec, err := chain.DecodeReceipt(said)
	if err != nil {
		return nil, err
	}
	mine, err := m.d.facts(m.id, m.env.Self, m.target, m.release, m.root)
	if err != nil {
		return nil, err
	}
	if !rec.Facts.Equal(&mine) {
		return nil, fmt.Errorf("%w: the target says %+v, it was %+v", chain.ErrBadReceipt, rec.Facts, mine)
	}
	if err := rec.VerifyTarget(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	says := chain.ReceiptSource{Started: m.startedAt, Confirmed: m.env.Clock().UnixNano(), Downtime: uint64(m.downtime),
		Queued: uint64(m.queued), Bytes: uint64(m.bytes), Rounds: uint64(len(m.passes))}
	m.mu.Unlock()
	return rec, rec.SignSource(m.env.Node, says)
}

// takeReceipt keeps the whole of a receipt whose half this node, the target,
// has.
func (r *Runtime) takeReceipt(from identity.NodeID, b []byte) error {
	rec, err := chain.DecodeReceipt(b)
	if err == nil {
		err = rec.Verify()
	}
	if err != nil {
		return err
	}
	half, err := r.receiptAt(rec.Facts.Entity, rec.Facts.Epoch)
	if err != nil {
		return err
	}
	if half == nil || !half.Facts.Equal(&rec.Facts) || rec.Facts.From != from {
		return fmt.Errorf("%w: it is of no move to this node", chain.ErrBadReceipt)
	}
	return r.keepReceipt(rec)
}

// earlier returns the receipts that travel with the daemon.
func (r *Runtime) earlier(id identity.EntityID) (out [][]byte, err error) {
	err = r.scanReceipts(id, func(_ uint64, b []byte) error {
		if rec, err := chain.DecodeReceipt(b); err == nil && rec.Whole() {
			out = append(out, append([]byte(nil), b...))
		}
		return nil
	})
	return out[max(0, len(out)-mostReceipts):], err
}

// addReceipts takes those that came with the daemon and are good.
func (in *incoming) addReceipts(all [][]byte) {
	in.receipts = nil
	for _, b := range all {
		rec, err := chain.DecodeReceipt(b)
		if err == nil {
			err = errors.Join(rec.Verify(), in.mayKeep(rec))
		}
		if err != nil {
			in.env.Logger.Warn("a receipt that came with a daemon is not kept", "daemon", in.offer.Entity.Origin(), "from", in.from, "error", err)
			continue
		}
		in.receipts = append(in.receipts, rec)
	}
}

func (in *incoming) mayKeep(rec *chain.Receipt) error {
	if rec.Facts.Entity != in.offer.Entity || rec.Facts.Epoch > in.offer.Epoch {
		return fmt.Errorf("%w: of daemon %s, epoch %d", chain.ErrBadReceipt, rec.Facts.Entity.Origin(), rec.Facts.Epoch)
	}
	return nil
}
