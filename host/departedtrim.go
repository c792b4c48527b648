package host

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"time"

	"wasmhost/host/store"
	"wasmhost/identity"
)

// Besides its tombstone a node keeps a daemon's last signed word, by which two histories
// of it could be proven, and the receipts of its moves. Of daemons that left it keeps
// them for the last mostRemembered, and for rememberedFor; of those that are here, as
// receipts.go says. What is too much is let go of at each start, and after every
// tidyEvery daemons that left.
const (
	mostRemembered = 10_000
	rememberedFor  = 90 * 24 * time.Hour
)

// tidyDeparted keeps what is known of the daemons that left in order, until the runtime
// ends. It returns at once.
func (r *Runtime) tidyDeparted() {
	if r.env.Store == nil {
		return
	}
	r.env.Work.Go(func() {
		if err := r.table.CheckIndex(r.env.Context); err != nil && r.env.Context.Err() == nil {
			r.env.Logger.Error("checking the index of daemons that moved away: they are looked for without it", "error", err)
		}
		for {
			if err := r.trimDeparted(r.env.Context); err != nil && r.env.Context.Err() == nil {
				r.env.Logger.Error("letting go of what is kept of daemons that left long ago", "error", err)
			}
			select {
			case <-r.table.Tidy():
			case <-r.env.Context.Done():
				return
			}
		}
	})
}

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

// trimDeparted lets go of the last words and receipts of daemons that left which are too
// many or too old.
func (r *Runtime) trimDeparted(ctx context.Context) error {
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
		away, at, err := r.table.LeftAt(id)
		if err != nil || !away {
			return err
		}
		if at > 0 && at < since {
			return r.forgetWords(id)
		}
		heap.Push(&kept, remembered{id, at})
		if in[id] = true; len(kept) > r.remembers {
			drop := heap.Pop(&kept).(remembered).id
			delete(in, drop)
			return r.forgetWords(drop)
		}
		return nil
	}
	if err := r.env.Store.Scan(store.Witnesses, look); err != nil {
		return err
	}
	last = identity.EntityID{}
	return r.env.Store.Scan(store.Receipts, look)
}

// forgetWords deletes what is kept of a daemon that left besides its tombstone.
func (r *Runtime) forgetWords(id identity.EntityID) error {
	b := &store.Batch{}
	b.Delete(store.Witnesses, id[:])
	err := r.env.Store.ScanPrefix(store.Receipts, id[:], func(k, _ []byte) error {
		b.Delete(store.Receipts, bytes.Clone(k))
		return nil
	})
	if err != nil {
		return err
	}
	return r.table.IfAway(id, func() {
		r.env.Store.SubmitLater(b, func(error) {}) // where it fails, the next start finds it again
	})
}
