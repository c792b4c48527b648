package daemon

import (
	"errors"
	"fmt"
	"time"

	"wasmhost.example/identity"
)

// HeldState is the state of a daemon that is held.
const HeldState = "held"

// WaitingState is the state of a daemon that waits for a standby in sync.
const WaitingState = "waiting"

// HoldReason says why a daemon is held.
type HoldReason uint8

// The reasons. The numbers are part of the format.
const (
	// HoldUnconfirmed: the copy comes from a backup, and nobody has confirmed that no
	// node has gone further since.
	HoldUnconfirmed HoldReason = 1

	// HoldSurpassed: another node has proven a higher epoch.
	HoldSurpassed HoldReason = 2

	// HoldForked: another node has another history, and nothing decides between them.
	HoldForked HoldReason = 3

	// HoldUnreachable: a standby in sync cannot be compared with. It ends by itself
	// once the standby answers.
	HoldUnreachable HoldReason = 4
)

var holdReasons = map[HoldReason]string{HoldUnconfirmed: "unconfirmed", HoldSurpassed: "stale-epoch", HoldForked: "forked", HoldUnreachable: "waiting"}

// String returns the reason's name.
func (h HoldReason) String() string {
	if name, ok := holdReasons[h]; ok {
		return name
	}
	return fmt.Sprintf("reason %d", uint8(h))
}

// Errors of held daemons.
var (
	// ErrHeld is every HeldError.
	ErrHeld = errors.New("the daemon is held")

	// ErrNotHeld says that there is no hold to end.
	ErrNotHeld = errors.New("the daemon is not held")

	// ErrFurther says that a node has proven a longer history than the copy that is to
	// be confirmed.
	ErrFurther = errors.New("another node has proven a longer history of the daemon")

	// ErrNoneFurther says that a copy cannot be yielded: no node is known to have more.
	ErrNoneFurther = errors.New("no other node is known to have more of the daemon")
)

// HeldError is the error of whatever a held daemon is asked to do.
type HeldError struct {
	Entity identity.EntityID
	Reason HoldReason
	Why    string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("daemon %s is held (%s): %s", e.Entity.Origin(), e.Reason, e.Why)
}

// Is makes errors.Is(err, ErrHeld) hold.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// HeldDaemon is a daemon that is held.
type HeldDaemon struct {
	Entity identity.EntityID
	Name   string
	Reason HoldReason
	Why    string
	Since  time.Time
	Node   identity.NodeID // that has more, or may have; 0: not known
	Epoch  uint64          // of that node's copy; 0: not known
	Index  uint64          // history records that it has
}

// MaxWhy bounds the text of a hold, or of a loss.
const MaxWhy = 1 << 10 // bytes of the text of a hold, or of a loss

// ClipWhy returns as much of a text as there may be.
func ClipWhy(why string) string { return why[:min(len(why), MaxWhy)] }
