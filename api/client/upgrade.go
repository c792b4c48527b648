package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"wasmhost.example/api"
)

// Upgrade has a daemon go over to another version of its code.
func (c *Client) Upgrade(ctx context.Context, ref string, req api.Upgrade) (out api.Daemon, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/upgrade"), bytes.NewReader(body), &out)
}

// Quarantine returns the failed events that nobody has dealt with.
func (c *Client) Quarantine(ctx context.Context, ref string) (out []api.Quarantined, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "/quarantine"), nil, &out)
}

// Retry has a daemon process a failed event again.
func (c *Client) Retry(ctx context.Context, ref string, index uint64) (out api.Sent, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, fmt.Sprintf("/quarantine/%d/retry", index)), nil, &out)
}

// Skip settles a failed event without trying it again.
func (c *Client) Skip(ctx context.Context, ref string, index uint64) error {
	return c.call(ctx, "DELETE", daemonPath(ref, fmt.Sprintf("/quarantine/%d", index)), nil, nil)
}
