package client

import (
	"context"

	"wasmhost.example/api"
)

// Place picks a node for the daemon.
func (c *Client) Place(ctx context.Context, ref string, req api.Place) (out api.Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/place"), body, &out)
}

// PlaceKind says where a daemon of a kind would be made.
func (c *Client) PlaceKind(ctx context.Context, req api.PlaceKind) (out api.Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "place", body, &out)
}

// Rebalance evens the node out by one daemon.
func (c *Client) Rebalance(ctx context.Context, req api.Rebalance) (out api.Rebalanced, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "rebalance", body, &out)
}
