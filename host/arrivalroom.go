package host

import (
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// What daemons on their way here may take before they are this node's: memory for
// modules, snapshots and blocks, and places in the table. A peer has its share, so that
// one cannot take all of it.

// Bounds on unfinished arrivals. Those of bytes are at least what one daemon of the
// node's limits needs.
const (
	ArrivalsOfPeer = 64  // that one peer may have at a time
	ArrivalsOfNode = 256 // of all peers
)

// arrivalRoom counts the bytes. Its zero value is not ready for use.
type arrivalRoom struct {
	node  *budget.Budget
	peers *budget.Shares[identity.NodeID]
}

func newArrivalRoom(l daemon.Limits) arrivalRoom {
	peer := l.MostArriving() + l.ModuleBytes + daemon.MaxSnapshotRest
	node := budget.New("arriving daemons", "node", 2*peer)
	return arrivalRoom{node, budget.NewShares[identity.NodeID](node, "peer", peer)}
}

// arrivingLimits returns the limits that a daemon which is offered will have here, and an
// error where they are none, or are beyond what may come.
func (r *Runtime) arrivingLimits(o *migration.Offer) (daemon.Limits, error) {
	own, err := daemon.StoredLimits(o.Limits)
	if err != nil {
		return daemon.Limits{}, err
	}
	all := own.Over(r.env.Limits).Storable()
	return all, all.FitArriving(r.env.Limits)
}

// grow counts n bytes that came, or refuses them: BufferFull. One stream at a time feeds
// an arrival.
func (in *incoming) grow(n int) error {
	in.roomMu.Lock()
	defer in.roomMu.Unlock()
	if in.roomDone {
		return errPushedOut
	}
	if in.room == nil {
		in.room, in.leave = in.rt.arriving.peers.Of(in.from)
	}
	if err := in.room.TryAcquire(int64(n)); err != nil {
		return migration.Failf(migration.BufferFull, "%v", err)
	}
	in.roomHeld += int64(n)
	return nil
}

// shrink gives bytes back.
func (in *incoming) shrink(n int64) {
	in.roomMu.Lock()
	defer in.roomMu.Unlock()
	if n = min(n, in.roomHeld); n > 0 {
		in.room.Release(n)
		in.roomHeld -= n
	}
}

// ungrow gives everything back: the daemon is this node's, or dropped. It may be called
// again.
func (in *incoming) ungrow() {
	in.roomMu.Lock()
	defer in.roomMu.Unlock()
	if in.roomDone {
		return
	}
	in.roomDone = true
	if in.room != nil {
		in.room.Release(in.roomHeld)
		in.leave()
	}
}

// Arrivals is what daemons on their way here take.
type Arrivals struct {
	Unfinished int
	Bytes      budget.Use
}

// Arrivals returns what daemons on their way here take.
func (r Migrations) Arrivals() Arrivals {
	return Arrivals{r.rt.table.CountArrivals(), r.rt.arriving.node.Use()}
}
