package host

import (
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Loss returns what of the daemon is known to be lost; nil: nothing is.
func (r Evidence) Loss(id identity.EntityID) *daemon.Loss { return r.rt.losses.Of(id) }
