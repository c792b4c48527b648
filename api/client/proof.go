package client

import (
	"context"
	"io"

	"wasmhost.example/api"
)

// Accuse puts the proof in a file on record: the node then refuses the identity.
func (p Proofs) Accuse(ctx context.Context, proof io.Reader) (out api.Accusation, err error) {
	return out, p.c.call(ctx, "POST", "proofs", proof, &out)
}

// List lists the proofs on record.
func (p Proofs) List(ctx context.Context) (out []api.Accusation, err error) {
	return out, p.c.call(ctx, "GET", "proofs", nil, &out)
}

// Get returns the proof on record against a daemon, as a file. The caller
// closes it.
func (p Proofs) Get(ctx context.Context, ref string) (io.ReadCloser, error) {
	return p.c.do(ctx, "GET", "proofs/"+segment(ref), nil, nil)
}

// Pardon lets the node use an identity again.
func (p Proofs) Pardon(ctx context.Context, ref string) (out api.Accusation, err error) {
	return out, p.c.call(ctx, "DELETE", "proofs/"+segment(ref), nil, &out)
}
