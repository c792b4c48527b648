package host

import (
	"wasmhost.example/host/budget"
)

// What daemons on their way here may take before they are this node's: memory for
// modules, snapshots and blocks, and places in the table. A peer has its share, so that
// one cannot take all of it.

// Arrivals is what daemons on their way here take.
type Arrivals struct {
	Unfinished int
	Bytes      budget.Use
}

// Arrivals returns what daemons on their way here take.
func (r Migrations) Arrivals() Arrivals {
	return Arrivals{r.rt.table.CountArrivals(), r.rt.arrivals.Use()}
}
