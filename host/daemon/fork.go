package daemon

import (
	"errors"
)

// Errors of forking.
var (
	// ErrNoForkPoint says that the daemon cannot be forked after that output: it
	// has not emitted it, or emitted others by the same event.
	ErrNoForkPoint = errors.New("the daemon stood nowhere right after that output")

	// ErrHistoryTrimmed says that what it takes to make a daemon again as it was
	// is not kept any more.
	ErrHistoryTrimmed = errors.New("the history no longer reaches back so far")
)
