package client

import (
	"bytes"
	"context"

	"wasmhost.example/api"
)

// Query asks a daemon's code what changes nothing.
func (d Daemons) Query(ctx context.Context, ref string, question []byte) (out api.Answer, err error) {
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/query"), bytes.NewReader(question), &out)
}
