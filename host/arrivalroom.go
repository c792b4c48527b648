package host

import (
	"wasmhost.example/host/budget"
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

// Arrivals is what daemons on their way here take.
type Arrivals struct {
	Unfinished int
	Bytes      budget.Use
}

// Arrivals returns what daemons on their way here take.
func (r Migrations) Arrivals() Arrivals {
	return Arrivals{r.rt.table.CountArrivals(), r.rt.arriving.Use()}
}
