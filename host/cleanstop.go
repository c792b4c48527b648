package host

import (
	"context"

	"wasmhost/identity"
)

// stoppedInOrder reports whether the daemon stands where the node's last orderly stop
// left it.
func (c *clustered) stoppedInOrder(context.Context, identity.EntityID) bool { return false }
