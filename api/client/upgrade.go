package client

import (
	"bytes"
	"context"
	"encoding/json"

	"wasmhost.example/api"
)

// Upgrade has a daemon go over to another version of its code.
func (d Daemons) Upgrade(ctx context.Context, ref string, req api.Upgrade) (out api.Daemon, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/upgrade"), bytes.NewReader(body), &out)
}
