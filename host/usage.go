package host

import (
	"sync/atomic"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// work counts what a daemon has used since it came to this node.
type work struct {
	time   atomic.Int64 // nanoseconds of events from outside; those of turns are the share's
	bytes  atomic.Int64
	events [daemon.EventKinds]atomic.Uint64 // but EventDirect: those are what is left of all
}

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

// Usages returns what the daemons of this node have used, in no order. It takes no
// daemon's lock.
func (r Daemons) Usages() []Usage {
	all := r.rt.table.Daemons()
	out := make([]Usage, 0, len(all))
	for _, d := range all {
		out = append(out, d.usage())
	}
	return out
}

// processed is how many events the daemon had applied when it was last shown.
func (d *hosted) processed() uint64 {
	d.view.mu.Lock()
	defer d.view.mu.Unlock()
	return d.view.at.stats.processed
}
