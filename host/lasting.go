package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// wantsEarlier reports whether a module that daemons may be rolled back to is to be sent
// here: it is not here, and this node's rules let a peer's module in.
func (r *Runtime) wantsEarlier(ctx context.Context, digest store.Digest, size uint64) bool {
	if r.refuse || size == 0 || size > uint64(r.env.Limits.ModuleBytes) {
		return false
	}
	if err := r.mayRunModule(digest); err != nil {
		r.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "module", fmt.Sprintf("%x", digest[:6]), "error", err)
		return false
	}
	_, err := r.Kinds().Module(ctx, digest)
	return errors.Is(err, daemon.ErrModuleNotFound)
}
