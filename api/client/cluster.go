package client

import (
	"context"
	"io"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// Status returns how the node's cluster stands.
func (cl Cluster) Status(ctx context.Context) (out api.ClusterStatus, err error) {
	return out, cl.c.call(ctx, "GET", "cluster", nil, &out)
}

// RemoveMember forgets a node that is gone for good.
func (cl Cluster) RemoveMember(ctx context.Context, node string) (out api.ClusterMember, err error) {
	return out, cl.c.call(ctx, "DELETE", "cluster/members/"+segment(node), nil, &out)
}

// Admit asks the node to let the asking node come to its cluster. Only a peer may ask it.
func (cl Cluster) Admit(ctx context.Context, a api.Admission) (out api.Admitted, err error) {
	body, err := jsonBody(a)
	if err != nil {
		return out, err
	}
	return out, cl.c.call(ctx, "POST", "cluster/members", body, &out)
}

// Copies returns what the node says that it has of its cluster's daemons.
func (cl Cluster) Copies(ctx context.Context) ([]api.Copy, error) {
	return pages[api.Copy](ctx, cl.c, "cluster/copies")
}

// Known returns what the node remembers of its cluster's daemons.
func (cl Cluster) Known(ctx context.Context) ([]api.KnownDaemon, error) {
	return pages[api.KnownDaemon](ctx, cl.c, "cluster/known")
}

// CopyChain returns the chain of what the node itself has of a daemon. The caller closes
// it, and verifies it.
func (cl Cluster) CopyChain(ctx context.Context, id identity.EntityID) (io.ReadCloser, error) {
	return cl.c.do(ctx, "GET", "cluster/copies/"+id.String()+"/chain", nil, nil)
}

// Promote makes the node's copy of a daemon the daemon.
func (cl Cluster) Promote(ctx context.Context, p api.Promotion) error {
	body, err := jsonBody(p)
	if err != nil {
		return err
	}
	return cl.c.call(ctx, "POST", "cluster/promotions", body, &p)
}

// Recover recovers the node's cluster, which has lost its directory.
func (cl Cluster) Recover(ctx context.Context, dry bool) (out api.Recovery, err error) {
	body, err := jsonBody(api.RecoveryRequest{DryRun: dry})
	if err != nil {
		return out, err
	}
	return out, cl.c.call(ctx, "POST", "cluster/recovery", body, &out)
}

// FollowDirectory has the node come to the directory that the asking node has begun for
// the cluster of that name. Only a peer may ask it.
func (cl Cluster) FollowDirectory(ctx context.Context, cluster string) error {
	body, err := jsonBody(api.ToDirectory{Cluster: cluster})
	if err != nil {
		return err
	}
	return cl.c.call(ctx, "PUT", "cluster/directory", body, &api.ToDirectory{})
}
