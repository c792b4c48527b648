package daemon

import (
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/abi"
	"wasmhost.example/identity"
)

// ErrDraining says that the node takes no daemons: it is being emptied.
var ErrDraining = errors.New("the node is being drained: it takes no daemons")

// Errors of the runtime's life.
var (
	ErrNotReady     = errors.New("the runtime is not ready")
	ErrShuttingDown = errors.New("the runtime is shutting down")
	ErrNotSupported = errors.New("not supported by this version")
)

// Errors of naming: what was asked for is not there, or is there already.
var (
	ErrNotFound         = errors.New("no such daemon")
	ErrKindNotFound     = errors.New("no such kind")
	ErrKindExists       = errors.New("a kind of this name is registered already")
	ErrAlreadyPresent   = errors.New("a daemon with this identity is present already")
	ErrNameTaken        = errors.New("another daemon has this name")
	ErrBadName          = errors.New("not a valid name")
	ErrKindInUse        = errors.New("daemons of this kind are running")
	ErrNilFactory       = errors.New("the kind's factory is nil")
	ErrStopped          = errors.New("the daemon was stopped")
	ErrModuleNotFound   = errors.New("no such module")
	ErrTargetKnown      = errors.New("a migration target for this identity is registered already")
	ErrAlreadyMigrating = errors.New("the daemon is migrating already")
)

// Errors of delivery.
var (
	ErrHalted      = errors.New("the daemon is stopped: it takes no events until it is started")
	ErrMailboxFull = errors.New("the daemon's mailbox is full")
	ErrManyReaders = errors.New("too many callers wait to look at the daemon")
	ErrTooLarge    = errors.New("the event is larger than the limit")
	ErrHorizonFull = errors.New("the daemon remembers as many senders as it may")
	ErrSenderQuota = errors.New("the daemon remembers as many senders of this peer or token as it may")
	ErrEventNumber = errors.New("an event's number is between 1 and 2^63-1")
	ErrComing      = errors.New("the daemon is on its way to this node")
	ErrHolding     = errors.New("this node does not reach its cluster's directory: its daemons hold their events") // its lease has ended
	ErrDiverged    = errors.New("the daemon's replay gave other outputs than its history has")
	ErrNoHistory   = errors.New("this runtime keeps no history")
	ErrSuperseded  = errors.New("the sender has gone past this event, and what became of it is not on record")
	ErrReserved    = errors.New("the event cannot be delivered under that sender")
	ErrReused      = errors.New("the sender has sent another event under this number")
)

// Errors of queries.
var (
	ErrNoQueries   = errors.New("the daemon's code answers no queries")
	ErrManyQueries = errors.New("too many queries wait for the daemon")
	ErrPatience    = errors.New("the query takes longer")
)

// Errors of state.
var (
	ErrCannotUpgrade    = errors.New("the daemon cannot go over to that module")
	ErrNotQuarantined   = errors.New("no such failed event")
	ErrBadLimit         = errors.New("not a limit")
	ErrNotPortable      = errors.New("the daemon's state cannot be captured: its code gives none")
	ErrIdentityMismatch = errors.New("the snapshot is of another identity")
	ErrBadSnapshot      = errors.New("snapshot decode failed")
	ErrStateTooLarge    = errors.New("the daemon's state is larger than its limit state-bytes")
	ErrStatelessState   = errors.New("a stateless daemon takes no state")
)

// Errors of effects, as a native daemon gets them.
var (
	ErrNotGranted = errors.New("the daemon was not granted that")
	ErrBadEffect  = errors.New("no such effect can be")
)

// GuestError is the error of an event that its daemon did not process: the
// event left no trace.
type GuestError = abi.Fault

// MovedError says that the daemon is answered for by another node. The sender
// asks there.
type MovedError struct{ Moved }

func (e *MovedError) Error() string {
	return fmt.Sprintf("daemon %s moved to node %s at epoch %d", e.Entity.Origin(), e.Node, e.Epoch)
}

// NotFoundError names the daemon that is not there. It is ErrNotFound.
type NotFoundError struct{ Entity identity.EntityID }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no daemon %s on this node", e.Entity.Origin())
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// KindError is an error about one kind; it wraps ErrKindNotFound, ErrKindExists,
// ErrKindInUse or ErrNilFactory.
type KindError struct {
	Kind string
	Err  error
}

func (e *KindError) Error() string { return fmt.Sprintf("kind %q: %v", e.Kind, e.Err) }
func (e *KindError) Unwrap() error { return e.Err }

// AmbiguousError is the error of a reference, or of the beginning of an id, that
// several daemons have.
type AmbiguousError struct {
	Ref     string
	Matches []identity.EntityID
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q means %d daemons: %s", e.Ref, len(e.Matches), e.some())
}

// some are the first of the matches.
func (e *AmbiguousError) some() string {
	const shown = 4
	var out []string
	for _, id := range e.Matches[:min(shown, len(e.Matches))] {
		out = append(out, id.String())
	}

	if len(e.Matches) > shown {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

// ErrNotKept says that the node keeps no key of that identity: only that of a daemon
// which moved away public-only is kept.
var ErrNotKept = errors.New("this node keeps no key of that identity")
