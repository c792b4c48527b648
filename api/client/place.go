package client

import (
	"context"

	"wasmhost.example/api"
)

// Place picks a node for the daemon.
func (d Daemons) Place(ctx context.Context, ref string, req api.Place) (out api.Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/place"), body, &out)
}

// Place says where a daemon of a kind would be made.
func (k Kinds) Place(ctx context.Context, req api.PlaceKind) (out api.Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, k.c.call(ctx, "POST", "place", body, &out)
}

// Rebalance evens the node out by one daemon.
func (n Node) Rebalance(ctx context.Context, req api.Rebalance) (out api.Rebalanced, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, n.c.call(ctx, "POST", "rebalance", body, &out)
}
