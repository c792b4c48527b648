package host

import (
	"wasmhost.example/host/daemon"
)

// Usages returns what the daemons of this node have used, in no order. It takes no
// daemon's lock.
func (r Daemons) Usages() []daemon.Usage {
	all := r.rt.table.Daemons()
	out := make([]daemon.Usage, 0, len(all))
	for _, d := range all {
		out = append(out, d.Usage())
	}
	return out
}
