package node

import (
	"context"
	"errors"

	"wasmhost.example/api/server/cluster"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// ErrNoClusterEngine says that a node is to be in a cluster, and the program was built
// without the engine for it (-tags noetcd).
var ErrNoClusterEngine = errors.New("this program is built without the cluster engine (-tags noetcd)")

// clusterPart is a node's part in its cluster's engine.
type clusterPart interface {
	// HostOptions make a runtime a node of the cluster; moved hears where daemons are.
	HostOptions(moved func(daemon.Moved)) (*host.ClusterOptions, error)

	// AwaitLease waits until the node answers for daemons, or for as long as that is
	// worth.
	AwaitLease(ctx context.Context, rt *host.Runtime) error

	// Wait returns when the part has ended: with true when the node is to be opened again,
	// with an error when it failed. When ctx ends first it returns false and nil.
	Wait(ctx context.Context) (restart bool, err error)

	// API is what the control API needs of it.
	API() cluster.Engine

	Close() error
}

// RestartError ends a node that is to be opened again, because its part in the cluster
// is another: with the same Config, but without Join, and with Listen at Addr.
type RestartError struct{ Addr string }

func (*RestartError) Error() string {
	return "the node restarts: its part in the cluster is another"
}
