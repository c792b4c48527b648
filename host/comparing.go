package host

import (
	"context"

	"wasmhost/identity"
)

// waiting returns the daemons that wait for a standby to be compared with.
func (c *clustered) waiting() []HeldDaemon { return nil }

// waits is waiting of one daemon; nil: it does not wait.
func (c *clustered) waits(identity.EntityID) *HeldDaemon { return nil }

// confirmWaiting lets a daemon serve that waits for a standby, as an operator says.
func (c *clustered) confirmWaiting(context.Context, identity.EntityID) (Mended, error) {
	return Mended{}, ErrNotHeld
}

// nobodyFurther returns ErrFurther where a node that answers now proves more of the
// daemon than this one has.
func (r *Runtime) nobodyFurther(context.Context, identity.EntityID) error { return nil }
