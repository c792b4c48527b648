package client

import (
	"context"
	"fmt"

	"wasmhost.example/api"
)

// List returns the failed events that nobody has dealt with.
func (q Quarantine) List(ctx context.Context, ref string) (out []api.Quarantined, err error) {
	return out, q.c.call(ctx, "GET", daemonPath(ref, "/quarantine"), nil, &out)
}

// Retry has a daemon process a failed event again.
func (q Quarantine) Retry(ctx context.Context, ref string, index uint64) (out api.Sent, err error) {
	return out, q.c.call(ctx, "POST", daemonPath(ref, fmt.Sprintf("/quarantine/%d/retry", index)), nil, &out)
}

// Skip settles a failed event without trying it again.
func (q Quarantine) Skip(ctx context.Context, ref string, index uint64) error {
	return q.c.call(ctx, "DELETE", daemonPath(ref, fmt.Sprintf("/quarantine/%d", index)), nil, nil)
}
