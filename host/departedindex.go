package host

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"wasmhost/host/daemon"
	"wasmhost/host/store"
	"wasmhost/identity"
)

// The daemons that moved away are found by their names and origins, too. An entry is a
// hash of one, and the beginning of the entity id; the tombstone has the truth, so that
// one too many does no harm. Programs that did not know the index leave it incomplete:
// each life of a node checks it once, while it serves, and writes it anew where it does
// not fit. Until then whoever asks has all tombstones read.

// departedIndex is what this life knows of the index.
type departedIndex struct{ fits atomic.Bool }

// What entries are by.
const (
	byDepartedName   = 'n'
	byDepartedOrigin = 'o'
)

// indexHash is how many bytes of a name's hash, and of an entity id, an entry has.
const indexHash = 8

// mostDeparted bounds how many daemons that left a search finds.
const mostDeparted = 1024

func nameEntry(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return append([]byte{byDepartedName}, sum[:indexHash]...)
}

func originEntry(o identity.OriginHash) []byte {
	return binary.BigEndian.AppendUint64([]byte{byDepartedOrigin}, uint64(o))
}

// entries are the index's keys of the tombstone: none of a daemon that was stopped,
// which nobody is to find.
func (t *tombstone) entries(id identity.EntityID) [][]byte {
	if t.Stopped || !t.known() {
		return nil
	}
	return [][]byte{append(nameEntry(t.Name), id[:indexHash]...), append(originEntry(id.Origin()), id[:indexHash]...)}
}

// bury adds the tombstone to the batch.
func (t *tombstone) bury(b *store.Batch, id identity.EntityID, encoded []byte) {
	b.Put(store.Moved, id[:], encoded)
	for _, k := range t.entries(id) {
		b.Put(store.Departed, k, []byte{})
	}
}

// raise removes the tombstone by the batch.
func (t *tombstone) raise(b *store.Batch, id identity.EntityID) {
	b.Delete(store.Moved, id[:])
	for _, k := range t.entries(id) {
		b.Delete(store.Departed, k)
	}
}

// movedBy returns daemons that moved away of which match holds, at most mostDeparted,
// among those that have an entry that begins with prefix.
func (p *departed) movedBy(prefix []byte, match func(identity.EntityID, string) bool) (out []identity.EntityID, err error) {
	add := func(id identity.EntityID, t tombstone) error {
		if len(out) == mostDeparted {
			return store.ErrStop
		}
		if !t.Stopped && match(id, t.Name) {
			out = append(out, id)
		}
		return nil
	}
	if !p.index.fits.Load() {
		return out, p.each(add)
	}
	err = p.store.ScanPrefix(store.Departed, prefix, func(k, _ []byte) error {
		if len(k) != 1+2*indexHash {
			return fmt.Errorf("%w: %x in the index of daemons that moved away", store.ErrCorrupt, k)
		}
		return p.begun(k[1+indexHash:], add)
	})
	return out, err
}

// begun visits the tombstones of the daemons whose ids begin with prefix.
func (p *departed) begun(prefix []byte, visit func(identity.EntityID, tombstone) error) error {
	return p.store.ScanPrefix(store.Moved, prefix, func(k, v []byte) error {
		t, err := decodeTombstone(k, v)
		if err != nil {
			return err
		}
		return visit(identity.EntityID(k), t)
	})
}

// checkIndex holds the index against the tombstones, and writes it anew where it does
// not fit.
func (p *departed) checkIndex(ctx context.Context) error {
	seed := maphash.MakeSeed()
	var want, have uint64 // sums over the entries
	err := p.each(func(id identity.EntityID, t tombstone) error {
		for _, k := range t.entries(id) {
			want += maphash.Bytes(seed, k)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = p.store.Scan(store.Departed, func(k, _ []byte) error {
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
func (p *departed) writeIndex(ctx context.Context) error {
	b, n := &store.Batch{}, 0
	b.DeleteUnder(store.Departed, []byte{byDepartedName})
	b.DeleteUnder(store.Departed, []byte{byDepartedOrigin})
	if err := p.store.Commit(b); err != nil {
		return err
	}
	b = &store.Batch{}
	err := p.each(func(id identity.EntityID, t tombstone) error {
		for _, k := range t.entries(id) {
			b.Put(store.Departed, k, []byte{})
			n++
		}
		if n < indexBatch {
			return ctx.Err()
		}
		full := b
		b, n = &store.Batch{}, 0
		return p.store.Commit(full)
	})
	if err == nil && n > 0 {
		err = p.store.Commit(b)
	}
	return err
}

// movedAs is movedBy while the runtime runs.
func (r *Runtime) movedAs(prefix []byte, match func(identity.EntityID, string) bool) ([]identity.EntityID, error) {
	if !r.env.Work.Begin() { // the store may be closed
		return nil, daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	return r.departed.movedBy(prefix, match)
}

// movedBegunBy is movedAs of the daemons whose origins or entity ids begin with text, of
// which CanBegin holds.
func (r *Runtime) movedBegunBy(text string, match func(identity.EntityID, string) bool) ([]identity.EntityID, error) {
	begin, err := hex.DecodeString(text[:len(text)&^1]) // what is odd match sees
	if err != nil {
		return nil, err
	}
	out, err := r.movedAs(append([]byte{byDepartedOrigin}, begin[:min(len(begin), indexHash)]...), match)
	if err != nil || !r.departed.index.fits.Load() {
		return out, err // all were looked at
	}
	if !r.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	err = r.departed.begun(begin, func(id identity.EntityID, t tombstone) error {
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
