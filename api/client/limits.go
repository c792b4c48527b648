package client

import (
	"context"
	"net/url"

	"wasmhost.example/api"
)

// NodeLimits returns the limits of the node.
func (c *Client) NodeLimits(ctx context.Context) (out api.NodeLimits, err error) {
	return out, c.call(ctx, "GET", "/v1/limits", nil, &out)
}

// DaemonLimits returns what bounds a daemon, wherever it is.
func (c *Client) DaemonLimits(ctx context.Context, ref string) (out api.DaemonLimits, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "/limits"), nil, &out)
}

// SetDaemonLimits sets limits of a daemon, wherever it is.
func (c *Client) SetDaemonLimits(ctx context.Context, ref string, req api.SetLimits) (out api.DaemonLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", daemonPath(ref, "/limits"), body, &out)
}

// KindLimits returns what bounds daemons of a kind.
func (c *Client) KindLimits(ctx context.Context, kind string) (out api.KindLimits, err error) {
	return out, c.call(ctx, "GET", "/v1/kinds/"+url.PathEscape(kind)+"/limits", nil, &out)
}

// SetKindLimits sets limits of a kind, and of those of its daemons on the node that had
// the kind's.
func (c *Client) SetKindLimits(ctx context.Context, kind string, req api.SetLimits) (out api.KindLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", "/v1/kinds/"+url.PathEscape(kind)+"/limits", body, &out)
}
