package node

import (
	"context"
	"log/slog"

	"wasmhost.example/host"
	"wasmhost.example/wire"
)

// twinFinder returns what looks for the node that a restored one was made of; nil where
// there is none to look for. A mesh whose twin is reached is isolated.
func twinFinder(in host.Incarnation, mesh *wire.Mesh, logger *slog.Logger) func(context.Context) *host.Twin {
	if in.Confirmed || in.Addr == "" {
		return nil
	}
	return func(ctx context.Context) *host.Twin {
		found, standings, err := mesh.Twin(ctx, in.Addr)
		if err != nil {
			logger.Debug("looking for another incarnation of this node", "address", in.Addr, "reached", found, "error", err)
		}

		if ctx.Err() == nil {
			mesh.Isolate(found)
		}

		if !found {
			return nil
		}
		return &host.Twin{Addr: in.Addr, Standings: standings}
	}
}
