// Package moving is what passes between a daemon and its migration: a view of the
// daemon, what it did since, its memory, and the pace at which it may go on. The daemon
// fills these in under its lock; the migration reads them without.
package moving

import (
	"context"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/snapshot"
)

// Await waits until what was written is durable. It returns why it is not, or the cause
// of ctx's end. It is safe for concurrent use.
type Await func(ctx context.Context) error

// View is a daemon as it was at one moment. It does not change while the daemon goes on.
type View struct {
	Epoch    uint64
	Module   []byte           // digest; nil: it has none
	Previous []byte           // digest of the module before the last upgrade; nil: there was none
	Limits   map[string]int64 // of its own
	Facts    []byte           // what the daemon keeps for life, encoded
	Index    uint64           // of the first record after the view
	Stored   Await            // for the record before it

	// Snapshot is the daemon's. Where Memory is not nil the state is there, and the
	// snapshot is to be given its manifest, and to be signed, before it is sent.
	Snapshot *snapshot.Snapshot
	Memory   *sandbox.Frozen
	Hash     *sandbox.Follower // follows Memory and the views after it; nil with it
}

// Cut is what a daemon did since its view, or the cut before.
type Cut struct {
	From    uint64   // index of the first record
	To      uint64   // index after the last
	Records [][]byte // nil where they are to be read from the store
	Stored  Await    // for the last of them, where they are
	Busy    time.Duration
	Memory  *sandbox.Frozen // as it is now; nil where the view has none
	Head    Head            // where the daemon stands now
}

// Head is where a daemon stands.
type Head struct {
	Sequence uint64 // of its last output
	Applied  uint64 // events
	Hash     chain.Hash
}
