package host

import (
	"wasmhost.example/identity"
)

// Work that the node begins by itself, for a timer, a daemon's event or a channel,
// is done in turns: package fair shares the node among the daemons that have such
// work, and each waits for what it made to be durable.

// isDaemon reports whether the identity is that of a daemon of this node.
func (r *Runtime) isDaemon(id identity.EntityID) bool {
	if id.IsZero() {
		return false
	}
	return r.table.Daemon(id) != nil
}
