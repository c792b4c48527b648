package table

import (
	"errors"
	"fmt"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
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

// tidyEvery is after how many daemons that left Tidy says so.
const tidyEvery = 1024

// Tombstones are the daemons that left. They are safe for concurrent use.
type Tombstones struct {
	env   *env.Env
	index index
	tidy  chan struct{} // tidyEvery daemons left

	// returning is held from the look at who is away until what is kept of its past is
	// deleted. It is taken before the table's lock.
	returning lock.Mutex[lock.Returning]

	mu     lock.Mutex[lock.Tombstones]     // guards what follows; taken last
	apart  map[identity.EntityID]Tombstone // which the store is about to lose, or could not take
	memory map[identity.EntityID]Tombstone // without a store
	order  []grave                         // of memory, oldest first; some have been replaced since
	most   int                             // of order
	floor  uint64                          // the highest epoch of those that memory has lost
	buried int                             // since Tidy said so last
}

// grave is a place in the order of those that left.
type grave struct {
	id identity.EntityID
	at int64
}

func newTombstones(e *env.Env) *Tombstones {
	return &Tombstones{env: e, most: mostInMemory, tidy: make(chan struct{}, 1),
		apart: make(map[identity.EntityID]Tombstone), memory: make(map[identity.EntityID]Tombstone)}
}

// BoundMemory makes a node without a store hold at most so many tombstones, from 1.
func (p *Tombstones) BoundMemory(most int) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.most = most
}

// Tombstone returns the daemon's tombstone; the zero one where there is none. Whoever
// asks has seen before that the daemon is not here. An error is the store's.
func (p *Tombstones) Tombstone(id identity.EntityID) (Tombstone, error) {
	p.mu.Lock()
	t, ok := p.apart[id]
	if !ok && p.env.Store == nil {
		t, ok = p.memory[id]
	}
	p.mu.Unlock()
	if ok || p.env.Store == nil {
		return t, nil
	}

	b, err := p.env.Store.Get(store.Moved, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return Tombstone{}, nil
	}
	if err != nil {
		return Tombstone{}, fmt.Errorf("looking up where daemon %s went: %w", id.Origin(), err)
	}
	return decodeTombstone(id[:], b)
}

// went notes that the daemon left; stored, that the store has its tombstone. It returns
// daemons whose tombstones memory has lost by this.
func (p *Tombstones) went(id identity.EntityID, t Tombstone, stored bool) (lost []identity.EntityID) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.env.Store != nil {
		if !stored {
			p.apart[id] = t
		}
		if p.buried++; p.buried >= tidyEvery {
			p.buried = 0
			select {
			case p.tidy <- struct{}{}:
			default: // it was said, and not heard yet
			}
		}
		return nil
	}

	p.memory[id] = t
	p.order = append(p.order, grave{id, t.Time})
	for ; len(p.order) > p.most; p.order = p.order[1:] {
		old := p.order[0]
		if t, ok := p.memory[old.id]; ok && t.Time == old.at {
			p.floor = max(p.floor, t.Epoch)
			delete(p.memory, old.id)
			lost = append(lost, old.id)
		}
	}
	return lost
}

// Tidy says when many daemons have left since it said so last.
func (p *Tombstones) Tidy() <-chan struct{} { return p.tidy }

// Lowest is the epoch that an identity which was given begins with at least, where
// nothing is known of it.
func (p *Tombstones) Lowest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.floor + 1
}

// Returns keeps what is known of the daemon, while it comes back and the store loses
// its tombstone, until back is called: with true once the daemon is in the table. What
// was kept of its past is not deleted meanwhile: see IfAway.
func (p *Tombstones) Returns(id identity.EntityID) (t Tombstone, back func(here bool), err error) {
	if t, err = p.Tombstone(id); err != nil {
		return t, nil, err
	}

	p.returning.Lock()
	p.mu.Lock()
	p.apart[id] = t
	p.mu.Unlock()
	p.returning.Unlock()

	return t, func(here bool) {
		p.mu.Lock()
		defer p.mu.Unlock()

		delete(p.apart, id)
		if here {
			delete(p.memory, id)
		}
	}, nil
}

// EachTombstone visits every tombstone, in no order, until visit returns an error, which
// is returned, but for store.ErrStop.
func (p *Tombstones) EachTombstone(visit func(identity.EntityID, Tombstone) error) error {
	if p.env.Store != nil {
		return p.env.Store.Scan(store.Moved, func(k, v []byte) error {
			t, err := decodeTombstone(k, v)
			if err != nil {
				return err
			}
			return visit(identity.EntityID(k), t)
		})
	}

	p.mu.Lock()
	list := make([]identity.EntityID, 0, len(p.memory))
	for id := range p.memory {
		list = append(list, id)
	}
	p.mu.Unlock()
	for _, id := range list {
		t, err := p.Tombstone(id)
		if err == nil && t.Known() {
			err = visit(id, t)
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

// LeftAt reports whether the daemon is neither here nor on its way here or away, and when
// it left, in Unix nanoseconds; 0: that is not known.
func (t *Table[D, A, M]) LeftAt(id identity.EntityID) (away bool, at int64, err error) {
	var (
		here    D
		coming  A
		leaving M
	)
	p, err := t.Find(id)
	return p.Here == here && p.Coming == coming && p.Leaving == leaving, p.Went.Time, err
}

// IfAway calls forget where the daemon is neither here nor on its way, and does not come
// back before forget returns. forget may read and write the store.
func (t *Table[D, A, M]) IfAway(id identity.EntityID, forget func()) error {
	t.returning.Lock()
	defer t.returning.Unlock()

	t.Tombstones.mu.Lock()
	_, returns := t.apart[id]
	t.Tombstones.mu.Unlock()
	away, _, err := t.LeftAt(id)
	if err != nil || !away || returns {
		return err
	}
	forget()
	return nil
}
