package client

import (
	"errors"
)

// ErrNoNode says that no node listens on the socket. It comes with
// ErrUnreachable.
var ErrNoNode = errors.New("no node answers")

// ErrUnreachable says that the node does not answer, or that the connection to it broke.
// Any error with a method Unreachable matches it, such as that of a transport between
// nodes.
var ErrUnreachable error = unreachable{}

type unreachable struct{}

// Error implements error.
func (unreachable) Error() string { return "the node cannot be reached" }

// Unreachable marks the error for those who match it by this method.
func (unreachable) Unreachable() {}

// Is matches the same error of another package.
func (unreachable) Is(target error) bool {
	_, ok := target.(interface{ Unreachable() })
	return ok
}
