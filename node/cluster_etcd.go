//go:build !noetcd

package node

import (
	"context"
	"log/slog"
	"path/filepath"

	"wasmhost.example/api/server/cluster"
	"wasmhost.example/identity"
	"wasmhost.example/node/internal/engine"
	"wasmhost.example/wire"
)

// clusterBuilt returns nil: the program has the cluster engine.
func clusterBuilt() error { return nil }

// part is an engine as clusterPart.
type part struct{ *engine.Engine }

func (p part) API() cluster.Engine { return p.Engine }

// startCluster opens the node's part in its cluster. peer is the node that this one has
// just joined; 0: none.
func startCluster(ctx context.Context, c *Config, key *identity.KeyPair, older func(life []byte) (bool, error), mesh *wire.Mesh, peer identity.NodeID, logger *slog.Logger) (clusterPart, error) {
	o := engine.Options{Name: c.Cluster.Name, Listen: c.Cluster.Listen, Voters: c.Cluster.Voters, Lease: c.Cluster.Lease, JoinTimeout: c.Cluster.JoinTimeout,
		Etcd: c.Cluster.Etcd, EtcdCA: c.Cluster.EtcdCA, EtcdCert: c.Cluster.EtcdCert, EtcdKey: c.Cluster.EtcdKey,
		EtcdUser: c.Cluster.EtcdUser, EtcdPassword: c.Cluster.EtcdPassword,
		Dir: filepath.Join(c.Dir, "cluster"), Key: key, Older: older}

	e, err := engine.Start(ctx, o, mesh, peer, logger)
	if err != nil {
		return nil, err
	}
	return part{e}, nil
}
