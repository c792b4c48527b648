package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Receipts are made at the end of a migration: the target signs as it confirms,
// the source when it hears that, and the target gets the whole. They are kept by
// both, and travel with the daemon.

// MostReceipts is how many are kept of one daemon: those of its last moves. Of how
// many daemons that left, see mostRemembered.
const MostReceipts = 64

// ForgetReceipts drops the receipts of a daemon that left a node without a store.
func (r *Records) ForgetReceipts(id identity.EntityID) {
	r.mu.Lock()
	defer r.mu.Unlock()

	delete(r.receipts, id)
}

// Receipts returns the receipts of the daemon's moves that this node knows, by
// epoch. They are verified.
func (r *Records) Receipts(id identity.EntityID) ([]*chain.Receipt, error) {
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

// EachReceipt visits all that this node has.
func (r *Records) EachReceipt(visit func(*chain.Receipt) error) error {
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

	var all [][]byte
	r.mu.RLock()
	for _, of := range r.receipts {
		all = slices.AppendSeq(all, maps.Values(of))
	}
	r.mu.RUnlock()
	for _, b := range all {
		if err := decode(b); err != nil {
			return err
		}
	}
	return nil
}

// scanReceipts visits them by epoch.
func (r *Records) scanReceipts(id identity.EntityID, visit func(epoch uint64, b []byte) error) error {
	if r.env.Store != nil {
		return r.env.Store.ScanPrefix(store.Receipts, id[:], func(k, v []byte) error {
			if len(k) != len(id)+8 {
				return fmt.Errorf("%w: receipt %x", store.ErrCorrupt, k)
			}
			return visit(binary.BigEndian.Uint64(k[len(id):]), v)
		})
	}

	r.mu.RLock()
	of := maps.Clone(r.receipts[id])
	r.mu.RUnlock()
	for _, e := range slices.Sorted(maps.Keys(of)) {
		if err := visit(e, of[e]); err != nil {
			return err
		}
	}
	return nil
}

func receiptKey(id identity.EntityID, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(id)+8), id[:]...), epoch)
}

// PutReceipts adds those of one daemon to b, and lets go of those that are too
// many.
func (r *Records) PutReceipts(b *store.Batch, all ...*chain.Receipt) error {
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
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.receipts[id] == nil {
			r.receipts[id] = make(map[uint64][]byte)
		}
		of := r.receipts[id]
		maps.Copy(of, values)
		for epochs := slices.Sorted(maps.Keys(of)); len(epochs) > MostReceipts; epochs = epochs[1:] {
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
	for ; len(old) > 0 && len(old)+len(values) > MostReceipts; old = old[1:] {
		b.Delete(store.Receipts, receiptKey(id, old[0]))
	}
	for epoch, value := range values {
		b.Put(store.Receipts, receiptKey(id, epoch), value)
	}
	return nil
}

// keepReceipt stores it on its own.
func (r *Records) keepReceipt(rec *chain.Receipt) error {
	b := &store.Batch{}
	if err := r.PutReceipts(b, rec); err != nil || r.env.Store == nil {
		return err
	}
	return r.env.Store.Commit(b)
}

// ReceiptAt returns the receipt of the daemon's move to epoch; nil where there is
// none.
func (r *Records) ReceiptAt(id identity.EntityID, epoch uint64) (*chain.Receipt, error) {
	var value []byte
	if r.env.Store != nil {
		var err error
		if value, err = r.env.Store.Get(store.Receipts, receiptKey(id, epoch)); errors.Is(err, store.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	} else {
		r.mu.RLock()
		value = r.receipts[id][epoch]
		r.mu.RUnlock()
		if value == nil {
			return nil, nil
		}
	}
	return chain.DecodeReceipt(value)
}

// TakeReceipt keeps the whole of a receipt whose half this node, the target,
// has.
func (r *Records) TakeReceipt(from identity.NodeID, b []byte) error {
	rec, err := chain.DecodeReceipt(b)
	if err == nil {
		err = rec.Verify()
	}
	if err != nil {
		return err
	}
	half, err := r.ReceiptAt(rec.Facts.Entity, rec.Facts.Epoch)
	if err != nil {
		return err
	}
	if half == nil || !half.Facts.Equal(&rec.Facts) || rec.Facts.From != from {
		return fmt.Errorf("%w: it is of no move to this node", chain.ErrBadReceipt)
	}
	return r.keepReceipt(rec)
}

// Earlier returns the receipts, encoded, that travel with the daemon.
func (r *Records) Earlier(id identity.EntityID) (out [][]byte, err error) {
	err = r.scanReceipts(id, func(_ uint64, b []byte) error {
		if rec, err := chain.DecodeReceipt(b); err == nil && rec.Whole() {
			out = append(out, append([]byte(nil), b...))
		}
		return nil
	})
	return out[max(0, len(out)-MostReceipts):], err
}
