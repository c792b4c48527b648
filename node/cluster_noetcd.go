//go:build noetcd

package node

import (
	"context"
	"log/slog"

	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// clusterBuilt returns ErrNoClusterEngine: the program does not have it.
func clusterBuilt() error { return ErrNoClusterEngine }

func startCluster(context.Context, *Config, *identity.KeyPair, func([]byte) (bool, error), *wire.Mesh, identity.NodeID, *slog.Logger) (clusterPart, error) {
	return nil, ErrNoClusterEngine
}
