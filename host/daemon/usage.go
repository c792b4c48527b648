package daemon

import (
	"time"

	"wasmhost.example/identity"
)

// Usage is what one daemon has used since it came to this node, or the node began.
type Usage struct {
	Entity identity.EntityID
	Name   string
	Kind   string
	State  string

	Time     time.Duration // of the processor. Of events from outside one in SampledEvents is timed
	Bytes    int64         // of its history
	Direct   uint64        // events from outside, and all from before it came here: of use in differences
	Timers   uint64        // events of its timers
	Daemons  uint64        // events of other daemons
	Channels uint64        // events of channels, and gaps in them
	Waiting  int           // events from outside that wait
	Turns    int           // timers, daemons and channels that wait for a turn
}
