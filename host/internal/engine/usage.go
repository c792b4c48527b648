package engine

import (
	"sync/atomic"

	"wasmhost.example/host/daemon"
)

// work counts what a daemon has used since it came to this node.
type work struct {
	time   atomic.Int64 // nanoseconds of events from outside; those of turns are the share's
	bytes  atomic.Int64
	events [daemon.EventKinds]atomic.Uint64 // but EventDirect: those are what is left of all
}
