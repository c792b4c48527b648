package group

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"wasmhost/identity"
)

// rendezvous returns the member of the highest weight for the key: highest random
// weight hashing (Thaler and Ravishankar, 1998). A member that leaves gives its own
// keys to the others, and takes none from them that it had not.
func rendezvous(members []Member, key []byte) *Member {
	var best *Member
	var weight uint64
	h := xxh3.Hash(key)
	var buf [40]byte
	binary.LittleEndian.PutUint64(buf[:], h)
	for k := range members {
		m := &members[k]
		copy(buf[8:], m.Entity[:])
		if w := xxh3.Hash(buf[:]); best == nil || w > weight || w == weight && m.Entity.Compare(best.Entity) < 0 {
			best, weight = m, w
		}
	}
	return best
}

// picker chooses members. It is safe for concurrent use.
type picker struct {
	turn atomic.Uint64

	mu   sync.Mutex
	busy map[identity.EntityID]int // events under way
}

// pick returns who of the candidates is to have an event; nil where there is none.
func (p *picker) pick(s Strategy, candidates []Member, key []byte) *Member {
	if len(candidates) == 0 {
		return nil
	}
	if s == Consistent && len(key) > 0 {
		return rendezvous(candidates, key)
	}
	turn := int((p.turn.Add(1) - 1) % uint64(len(candidates)))
	if s != LeastLoaded {
		return &candidates[turn]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	best := &candidates[turn] // among equals, in turn
	for k := range candidates {
		if m := &candidates[(turn+k)%len(candidates)]; p.busy[m.Entity] < p.busy[best.Entity] {
			best = m
		}
	}
	return best
}

// begin counts an event under way, until the function that it returns is called.
func (p *picker) begin(id identity.EntityID) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == nil {
		p.busy = make(map[identity.EntityID]int)
	}
	p.busy[id]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy[id]--; p.busy[id] == 0 {
			delete(p.busy, id)
		}
	})
}
