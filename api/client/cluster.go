package client

import (
	"context"
	"io"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// Cluster returns how the node's cluster stands.
func (c *Client) Cluster(ctx context.Context) (out api.ClusterStatus, err error) {
	return out, c.call(ctx, "GET", "cluster", nil, &out)
}

// RemoveMember forgets a node that is gone for good.
func (c *Client) RemoveMember(ctx context.Context, node string) (out api.ClusterMember, err error) {
	return out, c.call(ctx, "DELETE", "cluster/members/"+segment(node), nil, &out)
}

// Admit asks the node to let the asking node come to its cluster. Only a peer may ask it.
func (c *Client) Admit(ctx context.Context, a api.Admission) (out api.Admitted, err error) {
	body, err := jsonBody(a)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "cluster/members", body, &out)
}

// Copies returns what the node says that it has of its cluster's daemons.
func (c *Client) Copies(ctx context.Context) ([]api.Copy, error) {
	return pages[api.Copy](ctx, c, "cluster/copies")
}

// Known returns what the node remembers of its cluster's daemons.
func (c *Client) Known(ctx context.Context) ([]api.KnownDaemon, error) {
	return pages[api.KnownDaemon](ctx, c, "cluster/known")
}

// CopyChain returns the chain of what the node itself has of a daemon. The caller closes
// it, and verifies it.
func (c *Client) CopyChain(ctx context.Context, id identity.EntityID) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "cluster/copies/"+id.String()+"/chain", nil, nil)
}

// Promote makes the node's copy of a daemon the daemon.
func (c *Client) Promote(ctx context.Context, p api.Promotion) error {
	body, err := jsonBody(p)
	if err != nil {
		return err
	}
	return c.call(ctx, "POST", "cluster/promotions", body, &p)
}

// Recover recovers the node's cluster, which has lost its directory.
func (c *Client) Recover(ctx context.Context, dry bool) (out api.Recovery, err error) {
	body, err := jsonBody(api.RecoveryRequest{DryRun: dry})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "cluster/recovery", body, &out)
}

// FollowDirectory has the node come to the directory that the asking node has begun for
// the cluster of that name. Only a peer may ask it.
func (c *Client) FollowDirectory(ctx context.Context, cluster string) error {
	body, err := jsonBody(api.ToDirectory{Cluster: cluster})
	if err != nil {
		return err
	}
	return c.call(ctx, "PUT", "cluster/directory", body, &api.ToDirectory{})
}
