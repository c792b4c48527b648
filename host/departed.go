package host

import (
	"errors"
	"fmt"
	"sync"

	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// What a node must never forget of a daemon that it answers for no more is its
// tombstone: the identity, given again, goes on above every epoch that it had, and an
// old copy of it is refused. A tombstone takes some sixty bytes. It lies in the store
// and is looked up there when somebody asks; none is read at a start or held in memory.
//
// Without a store the last mostInMemory are held, and of those before the highest epoch:
// an identity that is given goes on above that, too.

// mostInMemory is how many tombstones a node without a store holds.
const mostInMemory = 1 << 16

// departed knows the daemons that left. It is safe for concurrent use.
type departed struct {
	store *store.Store // nil: what is known is in memory

	mu     sync.Mutex
	apart  map[identity.EntityID]tombstone // which the store is about to lose, or could not take
	memory map[identity.EntityID]tombstone // without a store
	order  []grave                         // of memory, oldest first; some have been replaced since
	most   int                             // of order
	floor  uint64                          // the highest epoch of those that memory has lost
	buried int                             // since the last tidying
	lost   func(identity.EntityID)         // hears of whom memory loses

	keep     int // of how many there is more than a tombstone
	index    departedIndex
	trimming sync.Mutex    // held from the look at who is away until its last word is deleted
	tidy     chan struct{} // there is something to do
}

// grave is a place in the order of those that left.
type grave struct {
	id identity.EntityID
	at int64
}

func newDeparted(s *store.Store, lost func(identity.EntityID)) *departed {
	return &departed{store: s, most: mostInMemory, keep: mostRemembered, lost: lost, apart: make(map[identity.EntityID]tombstone), memory: make(map[identity.EntityID]tombstone), tidy: make(chan struct{}, 1)}
}

// known reports whether there is a tombstone: every epoch is 1 or more.
func (t *tombstone) known() bool { return t.Epoch > 0 }

// of returns the daemon's tombstone; one that is not known where there is none. Who
// asks has seen before that the daemon is not here.
func (p *departed) of(id identity.EntityID) (tombstone, error) {
	p.mu.Lock()
	t, ok := p.apart[id]
	if !ok && p.store == nil {
		t, ok = p.memory[id]
	}
	p.mu.Unlock()
	if ok || p.store == nil {
		return t, nil
	}
	b, err := p.store.Get(store.Moved, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return tombstone{}, nil
	}
	if err != nil {
		return tombstone{}, fmt.Errorf("looking up where daemon %s went: %w", id.Origin(), err)
	}
	return decodeTombstone(id[:], b)
}

// Epochs begin at 1. A record of epoch 0 would be taken for none.
func decodeTombstone(k, v []byte) (t tombstone, err error) {
	if err = canon.Unmarshal(v, &t); err == nil && (!t.known() || len(k) != len(identity.EntityID{})) {
		err = errors.New("a key of another length, or no epoch")
	}
	if err != nil {
		err = fmt.Errorf("%w: the tombstone of daemon %x: %w", store.ErrCorrupt, k, err)
	}
	return t, err
}

// went notes that the daemon left; stored, that the store has its tombstone.
func (p *departed) went(id identity.EntityID, t tombstone, stored bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != nil {
		if !stored {
			p.apart[id] = t
		}
		if p.buried++; p.buried >= tidyEvery {
			p.buried = 0
			p.wake()
		}
		return
	}
	p.memory[id] = t
	p.order = append(p.order, grave{id, t.Time})
	for ; len(p.order) > p.most; p.order = p.order[1:] {
		old := p.order[0]
		if t, ok := p.memory[old.id]; ok && t.Time == old.at {
			p.floor = max(p.floor, t.Epoch)
			delete(p.memory, old.id)
			p.lost(old.id)
		}
	}
}

// lowest is the epoch that an identity which was given begins with at least, where
// nothing is known of it.
func (p *departed) lowest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.floor + 1
}

// returns keeps what is known of the daemon, while it comes back and the store loses
// its tombstone, until back is called: with true once the daemon is in the tables. What
// was kept of its past is not trimmed meanwhile.
func (p *departed) returns(id identity.EntityID) (t tombstone, back func(here bool), err error) {
	if t, err = p.of(id); err != nil {
		return t, nil, err
	}
	p.trimming.Lock()
	p.mu.Lock()
	p.apart[id] = t
	p.mu.Unlock()
	p.trimming.Unlock()
	return t, func(here bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.apart, id)
		if here {
			delete(p.memory, id)
		}
	}, nil
}

// each visits every tombstone, in no order.
func (p *departed) each(visit func(identity.EntityID, tombstone) error) error {
	if p.store != nil {
		return p.store.Scan(store.Moved, func(k, v []byte) error {
			t, err := decodeTombstone(k, v)
			if err != nil {
				return err
			}
			return visit(identity.EntityID(k), t)
		})
	}
	p.mu.Lock()
	list := make([]grave, 0, len(p.memory))
	for id := range p.memory {
		list = append(list, grave{id: id})
	}
	p.mu.Unlock()
	for _, g := range list {
		t, err := p.of(g.id)
		if err == nil && t.known() {
			err = visit(g.id, t)
		}
		if err == store.ErrStop {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whereabouts is what a node knows of a daemon: that it is here, that it is on its way
// here, or where it went.
type whereabouts struct {
	here   *hosted
	coming *incoming
	went   tombstone
}

// whereIs looks at the tables and then at what left. One that comes back meanwhile is
// seen: in the tables, or by what is known of it until then.
func (r *Runtime) whereIs(id identity.EntityID) (w whereabouts, err error) {
	for range 2 {
		r.mu.RLock()
		w.here, w.coming = r.daemons[id], r.incoming[id]
		r.mu.RUnlock()
		if w.here != nil || w.went.known() || err != nil {
			break
		}
		w.went, err = r.departed.of(id)
	}
	if w.here != nil {
		w.went = tombstone{}
	}
	return w, err
}
