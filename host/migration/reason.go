package migration

import (
	"errors"
	"fmt"
)

// Code is why a migration failed, as it crosses the wire. Append-only.
type Code uint16

// The codes.
const (
	NotReady                Code = 0  // the target's runtime is not ready yet
	FactoryNotFound         Code = 1  // the target does not know the kind and may not fetch it
	ComputeNotSupported     Code = 2  // the target runs no daemons
	StateFailed             Code = 3  // capturing, checking or restoring the state failed
	AlreadyMigrating        Code = 4  // the daemon is on its way already
	IdentityTransportFailed Code = 5  // the daemon's key could not be sealed, or opened, for the target
	NotReadyTimeout         Code = 6  // the target stayed NotReady for the whole budget
	Denied                  Code = 7  // the peer may not do this
	AlreadyPresent          Code = 8  // the target has a daemon of this identity, or of this name
	StaleEpoch              Code = 9  // a newer owner is known
	TargetUnavailable       Code = 10 // the target cannot be reached
	DaemonNotFound          Code = 11 // the source has no such daemon
	Cancelled               Code = 12 // the caller cancelled
	NotPortable             Code = 13 // the daemon's state cannot be captured
	ModuleRefused           Code = 14 // the target would not take the module
	BufferFull              Code = 15 // more happened during the move than may be buffered
	ProtocolError           Code = 16 // a peer broke the protocol
	StoreFailed             Code = 17 // a disk refused to write
	SourceUnavailable       Code = 18 // the source is heard no more: it ended after Cutover, or does not answer whoever ordered the migration
	Draining                Code = 19 // the target is being emptied
	Equivocated             Code = 20 // the daemon's key has signed two histories, and the target has the proof
)

var codeNames = [...]string{
	NotReady: "not-ready", FactoryNotFound: "factory-not-found", ComputeNotSupported: "compute-not-supported",
	StateFailed: "state-failed", AlreadyMigrating: "already-migrating", IdentityTransportFailed: "identity-transport-failed",
	NotReadyTimeout: "not-ready-timeout", Denied: "denied", AlreadyPresent: "already-present", StaleEpoch: "stale-epoch",
	TargetUnavailable: "target-unavailable", DaemonNotFound: "daemon-not-found", Cancelled: "cancelled",
	NotPortable: "not-portable", ModuleRefused: "module-refused", BufferFull: "buffer-full",
	ProtocolError: "protocol-error", StoreFailed: "store-failed",
	SourceUnavailable: "source-unavailable", Draining: "draining", Equivocated: "equivocated",
}

// Valid reports whether c is a code that this version knows.
func (c Code) Valid() bool { return int(c) < len(codeNames) }

// Retriable reports whether the same migration may succeed a little later.
func (c Code) Retriable() bool { return c == NotReady }

// String returns the code's stable name.
func (c Code) String() string {
	if c.Valid() {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint16(c))
}

// Error is a failed migration: the code for programs, the text for people. The
// source serves the daemon, unless Code is SourceUnavailable or StoreFailed:
// only the source, once it runs and can be asked, then says whose the daemon is.
type Error struct {
	Code     Code
	Text     string
	Attempts int // how often the target was asked, for NotReadyTimeout
}

// Failf makes an Error.
func Failf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Code == NotReadyTimeout {
		return fmt.Sprintf("migration: %s after %d attempts: %s", e.Code, e.Attempts, e.Text)
	}
	return fmt.Sprintf("migration: %s: %s", e.Code, e.Text)
}

// Is makes errors.Is(err, &Error{Code: c}) compare by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Text == ""
}

// ErrSettled says that there is no unsettled migration of the daemon on a node.
var ErrSettled = errors.New("no migration of this daemon is unsettled on this node")
