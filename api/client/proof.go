package client

import (
	"context"
	"io"

	"wasmhost.example/api"
)

// Accuse puts the proof in a file on record: the node then refuses the identity.
func (c *Client) Accuse(ctx context.Context, proof io.Reader) (out api.Accusation, err error) {
	return out, c.call(ctx, "POST", "proofs", proof, &out)
}

// Accusations lists the proofs on record.
func (c *Client) Accusations(ctx context.Context) (out []api.Accusation, err error) {
	return out, c.call(ctx, "GET", "proofs", nil, &out)
}

// Proof returns the proof on record against a daemon, as a file. The caller
// closes it.
func (c *Client) Proof(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "proofs/"+segment(ref), nil, nil)
}

// Pardon lets the node use an identity again.
func (c *Client) Pardon(ctx context.Context, ref string) (out api.Accusation, err error) {
	return out, c.call(ctx, "DELETE", "proofs/"+segment(ref), nil, &out)
}
