package evidence

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"time"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Besides its tombstone a node keeps a daemon's last signed word, by which two histories
// of it could be proven, and the receipts of its moves. Of daemons that left it keeps
// them for the last mostRemembered, and for rememberedFor; of those that are here, as
// receipts.go says. What is too much is let go of at each start, and whenever many have left.
const (
	mostRemembered = 10_000
	rememberedFor  = 90 * 24 * time.Hour
)

// Daemons say which have left.
type Daemons interface {
	// LeftAt reports whether the daemon is neither here nor on its way here or away, and
	// when it left, in Unix nanoseconds; 0: that is not known.
	LeftAt(identity.EntityID) (away bool, at int64, err error)

	// IfAway calls forget where the daemon is away, and does not come back before forget
	// returns.
	IfAway(id identity.EntityID, forget func()) error
}

// Remember makes Trim keep the evidence of at most so many daemons that left.
func (r *Records) Remember(most int) { r.remembers.Store(int64(most)) }

// remembered is a daemon that left and of which there is more than a tombstone.
type remembered struct {
	id identity.EntityID
	at int64 // when it left; 0: not known
}

// oldest is a heap of them. Whoever was taken from it and is put in again is taken
// again: no two are alike.
type oldest []remembered

func (o oldest) Len() int { return len(o) }
func (o oldest) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(o[i].at, o[j].at), o[i].id.Compare(o[j].id)) < 0
}
func (o oldest) Swap(i, j int) { o[i], o[j] = o[j], o[i] }
func (o *oldest) Push(x any)   { *o = append(*o, x.(remembered)) }
func (o *oldest) Pop() any {
	old := *o
	last := old[len(old)-1]
	*o = old[:len(old)-1]
	return last
}

// Trim lets go of the last words and receipts of daemons that left which are too many or
// too old. It is for a node with a store.
func (r *Records) Trim(ctx context.Context, daemons Daemons) error {
	var kept oldest
	in := make(map[identity.EntityID]bool)
	since := r.env.Clock().Add(-rememberedFor).UnixNano()
	var last identity.EntityID
	look := func(k, _ []byte) error {
		if len(k) < len(last) {
			return fmt.Errorf("%w: %x among last words and receipts", store.ErrCorrupt, k)
		}
		id := identity.EntityID(k[:len(last)])
		if id == last || in[id] {
			return ctx.Err()
		}
		last = id
		away, at, err := daemons.LeftAt(id)
		if err != nil || !away {
			return err
		}
		if at > 0 && at < since {
			return r.forget(daemons, id)
		}
		heap.Push(&kept, remembered{id, at})
		if in[id] = true; int64(len(kept)) > r.remembers.Load() {
			drop := heap.Pop(&kept).(remembered).id
			delete(in, drop)
			return r.forget(daemons, drop)
		}
		return nil
	}
	if err := r.env.Store.Scan(store.Witnesses, look); err != nil {
		return err
	}
	last = identity.EntityID{}
	return r.env.Store.Scan(store.Receipts, look)
}

// forget deletes what is kept of a daemon that left besides its tombstone.
func (r *Records) forget(daemons Daemons, id identity.EntityID) error {
	b := &store.Batch{}
	b.Delete(store.Witnesses, id[:])
	err := r.env.Store.ScanPrefix(store.Receipts, id[:], func(k, _ []byte) error {
		b.Delete(store.Receipts, bytes.Clone(k))
		return nil
	})
	if err != nil {
		return err
	}
	return daemons.IfAway(id, func() {
		r.env.Store.SubmitLater(b, func(error) {}) // where it fails, the next start finds it again
	})
}
