package table

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// The daemons that moved away are found by their names and origins, too. An entry is a
// hash of one, and the beginning of the entity id; the tombstone has the truth, so that
// one too many does no harm. Programs that did not know the index leave it incomplete:
// each life of a node checks it once, while it serves, and writes it anew where it does
// not fit. Until then whoever asks has all tombstones read.

// index is what this life knows of the index.
type index struct{ fits atomic.Bool }

// mostDeparted bounds how many daemons that left a search finds.
const mostDeparted = 1024

// MovedBy returns daemons that moved away of which match holds, at most mostDeparted,
// among those that have an entry that begins with prefix.
func (p *Tombstones) MovedBy(prefix []byte, match func(identity.EntityID, string) bool) (out []identity.EntityID, err error) {
	add := func(id identity.EntityID, t Tombstone) error {
		if len(out) == mostDeparted {
			return store.ErrStop
		}
		if !t.Stopped && match(id, t.Name) {
			out = append(out, id)
		}
		return nil
	}
	if !p.index.fits.Load() {
		err = p.EachTombstone(add)
		return out, err
	}
	err = p.env.Store.ScanPrefix(store.Departed, prefix, func(k, _ []byte) error {
		if len(k) != 1+2*indexHash {
			return fmt.Errorf("%w: %x in the index of daemons that moved away", store.ErrCorrupt, k)
		}
		return p.begun(k[1+indexHash:], add)
	})
	return out, err
}

// begun visits the tombstones of the daemons whose ids begin with prefix.
func (p *Tombstones) begun(prefix []byte, visit func(identity.EntityID, Tombstone) error) error {
	return p.env.Store.ScanPrefix(store.Moved, prefix, func(k, v []byte) error {
		t, err := decodeTombstone(k, v)
		if err != nil {
			return err
		}
		return visit(identity.EntityID(k), t)
	})
}

// CheckIndex holds the index against the tombstones, and writes it anew where it does
// not fit.
func (p *Tombstones) CheckIndex(ctx context.Context) error {
	seed := maphash.MakeSeed()
	var want, have uint64 // sums over the entries
	err := p.EachTombstone(func(id identity.EntityID, t Tombstone) error {
		for _, k := range t.entries(id) {
			want += maphash.Bytes(seed, k)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = p.env.Store.Scan(store.Departed, func(k, _ []byte) error {
		have += maphash.Bytes(seed, k)
		return ctx.Err()
	})
	if err == nil && want != have {
		err = p.writeIndex(ctx)
	}
	if err == nil {
		p.index.fits.Store(true)
	}
	return err
}

// indexBatch is how many entries are written at once.
const indexBatch = 1024

// writeIndex writes all entries anew. Daemons that leave meanwhile write their own.
func (p *Tombstones) writeIndex(ctx context.Context) error {
	b, n := &store.Batch{}, 0
	b.DeleteUnder(store.Departed, []byte{byDepartedName})
	b.DeleteUnder(store.Departed, []byte{byDepartedOrigin})
	if err := p.env.Store.Commit(b); err != nil {
		return err
	}
	b = &store.Batch{}
	err := p.EachTombstone(func(id identity.EntityID, t Tombstone) error {
		for _, k := range t.entries(id) {
			b.Put(store.Departed, k, []byte{})
			n++
		}
		if n < indexBatch {
			return ctx.Err()
		}
		full := b
		b, n = &store.Batch{}, 0
		return p.env.Store.Commit(full)
	})
	if err == nil && n > 0 {
		err = p.env.Store.Commit(b)
	}
	return err
}

// IndexFits reports whether the index was checked, so that MovedBy is answered by it.
func (p *Tombstones) IndexFits() bool { return p.index.fits.Load() }

// MovedBegunBy is MovedBy of the daemons whose origins or entity ids begin with text, an
// even or odd number of hexadecimal digits: of which match holds.
func (p *Tombstones) MovedBegunBy(text string, match func(identity.EntityID, string) bool) ([]identity.EntityID, error) {
	begin, err := hex.DecodeString(text[:len(text)&^1]) // what is odd match sees
	if err != nil {
		return nil, err
	}
	out, err := p.MovedBy(append([]byte{byDepartedOrigin}, begin[:min(len(begin), indexHash)]...), match)
	if err != nil || !p.index.fits.Load() {
		return out, err // all were looked at
	}

	err = p.begun(begin, func(id identity.EntityID, t Tombstone) error {
		if len(out) >= 2*mostDeparted {
			return store.ErrStop
		}
		if !t.Stopped && match(id, t.Name) {
			out = append(out, id)
		}
		return nil
	})
	return out, err
}
