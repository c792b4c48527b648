package source

import (
	"context"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Subject is a daemon that moves, as its source has it. What is not a method does not
// change while it is here.
type Subject struct {
	Entity identity.EntityID
	Name   string
	Kind   string // empty: it is of none, and cannot move

	Serving
	Leaving
	Ownership
}

// Serving is a daemon that moves, until its source releases it. Each method is one
// critical section of the daemon, and may be called while it processes events.
type Serving interface {
	// Capture returns a view of the daemon, and has it keep what it records from then
	// on, for Cut. It wakes a passive daemon.
	Capture(ctx context.Context) (*moving.View, error)

	// Seal signs the snapshot of a view, and first puts in the manifest of its memory,
	// where there is one.
	Seal(s *snapshot.Snapshot, manifest []byte) error

	// Held says how much of what the daemon recorded would be in a Cut now.
	Held() moving.Held

	// Cut returns what the daemon did since its view, or the cut before, and what of its
	// memory changed since; nil: its memory does not go by itself. With pause, the daemon
	// holds its events from there on.
	Cut(since *sandbox.Frozen, pause bool) (moving.Cut, error)

	// Slow spaces the daemon's events; 0: not at all.
	Slow(every time.Duration)

	// Stay ends what Capture and Cut began: the daemon goes on.
	Stay()
}

// Leaving is a daemon that holds its events, and is to be the target's.
type Leaving interface {
	// HandOver signs the release as the daemon, with what its checkpoint is to state, and
	// seals the daemon's identity for the target; a nil seal: the identity stays.
	HandOver(r *migration.Release, states []byte, seal *identity.SealKey) error

	// Release writes the record of a release durably, and with keepKey the daemon's key,
	// which stays here. With unsure the record may be durable all the same, and the
	// daemon serves no more.
	Release(record []byte, keepKey bool) (unsure bool, err error)

	// Waiting returns how many events wait for the daemon.
	Waiting() int64

	// Facts returns what a receipt of the move says. root is the hash of the daemon's
	// memory, where it is known.
	Facts(id migration.ID, from, to identity.NodeID, r *migration.Release, root []byte) (chain.ReceiptFacts, error)

	// Leave replaces the daemon by a tombstone: its senders go to the target. They need
	// not wait for the disk, which has the release; but until it has the tombstone the
	// daemon's place is taken, lest it come back and what is kept of it be forgotten.
	// rec may be nil. It returns the subscriptions that the daemon had.
	Leave(to identity.NodeID, epoch uint64, rec *chain.Receipt) []channel.Binding

	// TakeBack has the daemon serve here again, under an epoch, as a fact of its chain.
	TakeBack(epoch uint64) (chain.Mended, error)
}

// Ownership is who has a daemon: this node alone decides, or its cluster's directory.
type Ownership interface {
	// MayMove takes the daemon for a migration and returns its epoch, or says why it
	// cannot move. withKey says that its key is to go along.
	MayMove(ctx context.Context, target identity.NodeID, withKey bool) (epoch uint64, err error)

	// Commit is the point of no return, once the release is on disk here: the target
	// owns the daemon under the epoch. An error, or ctx's end, leaves that unknown.
	Commit(ctx context.Context, target identity.NodeID, epoch uint64) error

	// Ended says that the migration is over, for the reason err or, where that is nil,
	// since the daemon has gone. One that failed and is not committed gives the daemon
	// back.
	Ended(m *Migration, err *migration.Error)
}
