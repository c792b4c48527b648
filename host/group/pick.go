package group

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
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
	busy map[uint64]int           // events under way, by Member.Born
	idle map[uint64]chan struct{} // closed when there are none any more; only where somebody waits
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
		if m := &candidates[(turn+k)%len(candidates)]; p.busy[m.Born] < p.busy[best.Born] {
			best = m
		}
	}

	return best
}

// begin counts an event under way, until the function that it returns is called.
func (p *picker) begin(born uint64) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == nil {
		p.busy = make(map[uint64]int)
	}

	p.busy[born]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy[born]--; p.busy[born] > 0 {
			return
		}

		delete(p.busy, born)
		if idle := p.idle[born]; idle != nil {
			close(idle)
			delete(p.idle, born)
		}
	})
}

// await waits until no event is under way at the member, and returns how many are when
// ctx ends first.
func (p *picker) await(ctx context.Context, born uint64) int {
	p.mu.Lock()
	if p.busy[born] == 0 {
		p.mu.Unlock()
		return 0
	}

	if p.idle == nil {
		p.idle = make(map[uint64]chan struct{})
	}

	idle := p.idle[born]
	if idle == nil {
		idle = make(chan struct{})
		p.idle[born] = idle
	}
	p.mu.Unlock()

	select {
	case <-idle:
		return 0
	case <-ctx.Done():
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[born]
}
