package source

import (
	"context"
	"time"

	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// DefaultRetryNotReady is for how long a target that is not ready is asked again, unless
// Options say otherwise.
const DefaultRetryNotReady = 30 * time.Second

// NoRetry is an Options.RetryNotReady: a target that is not ready is asked once.
const NoRetry time.Duration = -1

// Options say how a daemon moves.
type Options struct {
	// OmitIdentity does not send the daemon's private key: the target must have it, by
	// RegisterMigrationTargetIdentity, and proves that it does. Else the migration fails
	// with IdentityTransportFailed, and nothing has changed.
	OmitIdentity bool

	// PublicOnly moves the daemon without its private key. On the target it signs
	// nothing: what it emits there cannot be proven, and its chain verifies no further
	// than the move, which says so. Its key stays on this node, at rest, where
	// KeptIdentity finds it; the daemon has it again when it comes back here. A migration
	// that another node orders cannot be one.
	PublicOnly bool

	// RetryNotReady is for how long a target that is not ready is asked again, with
	// pauses that grow from 0.5 s to 16 s. 0: DefaultRetryNotReady. Negative, such as
	// NoRetry: it is asked once.
	RetryNotReady time.Duration

	// Downtime is for how long senders may wait at the end, 0 for
	// DefaultDowntime. Before, rounds send what the daemon does meanwhile, until
	// the rest fits; where that is never, the daemon is slowed.
	Downtime time.Duration

	// MaxRounds is after how many rounds the end comes all the same, 0 for
	// DefaultRounds.
	MaxRounds int

	// Deadline is for how long the daemon may be on its way until it is
	// released; then the migration is given up. 0: for any time.
	Deadline time.Duration

	// Rate is how many bytes may be sent in a second. 0: any number.
	Rate int64

	watch context.Context // nil: nobody watches from the beginning on

	// Source is the node that has the daemon, where that is another: this node
	// asks it to move the daemon, and hears how it goes. 0: this node.
	Source identity.NodeID
}

// check says what is wrong with the options.
func (o *Options) check() error {
	if o.PublicOnly && o.OmitIdentity {
		return migration.Failf(migration.IdentityTransportFailed, "a migration either leaves the key to a target that has it, or is public-only")
	}
	if min(o.Downtime, o.Deadline, time.Duration(o.Rate)) < 0 || o.MaxRounds < 0 || o.MaxRounds > migration.MaxRounds {
		return migration.Failf(migration.ProtocolError, "downtime %v, deadline %v, rate %d, %d rounds: at least 0, at most %d rounds", o.Downtime, o.Deadline, o.Rate, o.MaxRounds, migration.MaxRounds)
	}
	return nil
}

// retryNotReady is how long the target is asked again; 0: it is asked once.
func (o *Options) retryNotReady() time.Duration {
	switch {
	case o.RetryNotReady == 0:
		return DefaultRetryNotReady
	case o.RetryNotReady < 0:
		return 0
	}

	return o.RetryNotReady
}

// retryOrdered is the option of an order that says this budget; 0: the target is asked once.
func retryOrdered(budget uint64) time.Duration {
	if budget == 0 {
		return NoRetry
	}

	return time.Duration(budget)
}

// bounds are the options' as they cross the wire.
func (o *Options) bounds() migration.Bounds {
	return migration.Bounds{Downtime: uint64(o.Downtime), Rounds: uint64(o.MaxRounds), Deadline: uint64(o.Deadline), Rate: uint64(o.Rate)}
}

func (o *Options) within(b migration.Bounds) {
	o.Downtime, o.MaxRounds, o.Deadline, o.Rate = time.Duration(b.Downtime), int(b.Rounds), time.Duration(b.Deadline), int64(b.Rate)
}
