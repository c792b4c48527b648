package channel

import (
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/identity"
)

// Errors of channels. Those of tokens are package identity's.
var (
	ErrNoChannel  = errors.New("no such channel")
	ErrExists     = errors.New("the channel exists already")
	ErrReserved   = errors.New("names that begin with out/ are those of daemons' outputs")
	ErrTooMany    = errors.New("the node has as many channels as it may")
	ErrNoToken    = errors.New("the channel asks for a permission token")
	ErrDenied     = errors.New("the channel is not open to that node")
	ErrThrottled  = errors.New("too many attempts were refused: wait before the next")
	ErrResidence  = errors.New("it is not proven that the daemon is on that node")
	ErrSuperseded = errors.New("the daemon is subscribed from a later owner")
	ErrNotMember  = errors.New("the daemon is not on a feed of the channel")
	ErrPayload    = errors.New("the event is larger than channels take")
	ErrNotReady   = errors.New("the channel's node is not ready")
	ErrNoReceiver = errors.New("no such daemon there")
	ErrBusy       = errors.New("the daemon takes no more at present")
	ErrNoRoom     = errors.New("the daemon has no room for what the event would send")
	ErrPassedOver = errors.New("events were passed over")
	ErrRemoved    = errors.New("the channel was removed")
	ErrChanged    = errors.New("the channel is not the one that the cursor is of")
	ErrBadCursor  = errors.New("not a cursor: it is SEQUENCE, or BIRTH:SEQUENCE as it was printed")
	ErrOther      = errors.New("the channel's node answered with an error")
)

// Code is an error as it crosses the wire. The numbers are part of the
// protocol.
type Code uint16

// codes are the errors by code. Append only.
var codes = []error{
	ErrOther, ErrNoChannel, ErrNoToken, ErrDenied, ErrThrottled, ErrResidence, ErrSuperseded, ErrNotMember, ErrPayload, ErrNotReady, ErrReserved,
	identity.ErrTokenFormat, identity.ErrTokenTrailing, identity.ErrTokenLinks, identity.ErrTokenSignature, identity.ErrTokenNotYetValid,
	identity.ErrTokenExpired, identity.ErrTokenTTL, identity.ErrTokenRevoked, identity.ErrTokenRoot, identity.ErrTokenSubject,
	identity.ErrTokenScope, identity.ErrTokenChannel, identity.ErrTokenSigner, identity.ErrTokenBroader,
	identity.ErrDelegationExhausted, identity.ErrDelegationNotAllowed, ErrTooMany, ErrNoReceiver, ErrBusy,
	ErrNoRoom, ErrPassedOver,
}

// Valid reports whether this version knows the code.
func (c Code) Valid() bool { return int(c) < len(codes) }

// CodeOf returns the code of the error: ErrOther's where it has none.
func CodeOf(err error) Code {
	for i, e := range codes {
		if errors.Is(err, e) {
			return Code(i)
		}
	}
	return 0
}

// MovedError says that another node has what was asked for: the error of a Moved.
type MovedError struct{ Node identity.NodeID }

func (e *MovedError) Error() string { return fmt.Sprintf("it is published by node %s now", e.Node) }

// Refusal is the error of the other side.
type Refusal struct {
	Code Code
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Unwrap returns the error that the code stands for.
func (r *Refusal) Unwrap() error {
	if !r.Code.Valid() {
		return ErrOther
	}
	return codes[r.Code]
}

// Refuse makes the message of an error.
func Refuse(entity identity.EntityID, err error) *Refused {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > MaxText {
		text = strings.ToValidUTF8(text[:MaxText], "") // without what the cut left of a character
	}
	return &Refused{Entity: entity, Code: CodeOf(err), Text: text}
}
