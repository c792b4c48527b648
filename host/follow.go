package host

import (
	"context"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/identity"
)

// Tail returns the daemon's outputs from now on, each once it is durable. The
// channel is closed as that of FollowLogs.
func (r Outputs) Tail(ctx context.Context, id identity.EntityID) (<-chan chain.Output, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	out := make(chan chain.Output)
	in := d.Outputs().FollowOutputs(ctx)
	go func() {
		defer close(out)
		defer in.Stop()
		_ = engine.Relay(ctx, out, in, 0) // the closed channel says that it ended
	}()
	return out, nil
}

// TailAfter is Tail that begins with the outputs after that of the sequence,
// from the history: ErrNoHistory where none is kept, or where it begins after
// that output. After 0 it begins with the first output that is kept. Whoever was cut, or
// followed the daemon to another node, goes on with the last sequence it saw
// and misses nothing.
func (r Outputs) TailAfter(ctx context.Context, id identity.EntityID, sequence uint64) (<-chan chain.Output, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	return d.Outputs().TailAfter(ctx, sequence)
}
