package host

import (
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/pending"
)

// Pending is the answer to an event that Submit has given to a daemon, or why there is none.
// Its owner waits for it once, with Wait.
type Pending = pending.Event

// NewPending makes a Pending, and what answers it, which must be called once: it is for
// those who stand in for a Runtime.
func NewPending() (*Pending, func(daemon.Result, error)) { return pending.NewPending() }
