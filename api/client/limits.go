package client

import (
	"context"
	"net/url"

	"wasmhost.example/api"
)

// Limits returns the limits of the node.
func (n Node) Limits(ctx context.Context) (out api.NodeLimits, err error) {
	return out, n.c.call(ctx, "GET", "/v1/limits", nil, &out)
}

// Limits returns what bounds a daemon, wherever it is.
func (d Daemons) Limits(ctx context.Context, ref string) (out api.DaemonLimits, err error) {
	return out, d.c.call(ctx, "GET", daemonPath(ref, "/limits"), nil, &out)
}

// SetLimits sets limits of a daemon, wherever it is.
func (d Daemons) SetLimits(ctx context.Context, ref string, req api.SetLimits) (out api.DaemonLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, d.c.call(ctx, "PUT", daemonPath(ref, "/limits"), body, &out)
}

// Limits returns what bounds daemons of a kind.
func (k Kinds) Limits(ctx context.Context, kind string) (out api.KindLimits, err error) {
	return out, k.c.call(ctx, "GET", "/v1/kinds/"+url.PathEscape(kind)+"/limits", nil, &out)
}

// SetLimits sets limits of a kind, and of those of its daemons on the node that had
// the kind's.
func (k Kinds) SetLimits(ctx context.Context, kind string, req api.SetLimits) (out api.KindLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, k.c.call(ctx, "PUT", "/v1/kinds/"+url.PathEscape(kind)+"/limits", body, &out)
}
