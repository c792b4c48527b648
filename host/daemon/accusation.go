package daemon

import (
	"errors"
	"time"

	"wasmhost.example/host/chain"
)

// ErrNotAccused says that no proof against a daemon is on record.
var ErrNotAccused = errors.New("no proof against this daemon is on record")

// Accusation is a proof on record that a daemon's key signed two histories.
type Accusation struct {
	chain.Conflict
	Recorded time.Time
	Found    bool      // by this node itself; else an operator brought it
	Pardoned time.Time // zero: the identity is refused
}
