package daemon

import (
	"errors"
)

// ErrUnproven says that a node did not prove that it has the daemon. Nothing is sent
// there.
var ErrUnproven = errors.New("the node does not prove that it has the daemon")
