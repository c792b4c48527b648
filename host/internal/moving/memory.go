package moving

import (
	"runtime"

	"wasmhost.example/host/internal/sandbox"
)

// Memory is a Daemon whose memory moves while it goes on. Its methods need the daemon's
// lock.
type Memory interface {
	// Freeze returns a view of the memory, and of what changed since another; nil: of
	// all of it.
	Freeze(since *sandbox.Frozen) (*sandbox.Frozen, error)

	// Thaw ends what Freeze began: views are not followed any more.
	Thaw()

	// Follow returns the hash of a memory that is empty yet.
	Follow() *sandbox.Follower

	// Fill writes blocks of sandbox.BlockBytes at their indexes. It refuses those for
	// which there is no room.
	Fill(index []uint32, blocks []byte) error

	// Become completes what Fill wrote.
	Become(*sandbox.State) error
}

// Follow hashes what is in a view, but for blocks that were put already. It lets
// others run now and then: events that come meanwhile would else wait until the
// scheduler takes the processor away, 10 ms.
func Follow(hash *sandbox.Follower, v *sandbox.Frozen, put sandbox.BlockSet) {
	for k, b := range v.Index {
		if put.Has(b) {
			continue
		}

		hash.Put(b, v.Block(k))
		if k%64 == 63 {
			runtime.Gosched()
		}
	}
}
