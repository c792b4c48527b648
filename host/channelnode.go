package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Channels returns the channels that this node publishes.
func (r *Runtime) Channels() *broker.Broker { return r.broker }

// brokerConfig is what the broker gets of the runtime.
func (r *Runtime) brokerConfig() broker.Config {
	return broker.Config{
		Env: r.env, TokenSkew: r.tokenSkew, SenderMemory: r.env.Limits.SenderMemory, Ready: r.ready, Open: r.channelsOpen,
		Flow: r.flowOf, LastWord: lastWord, Peers: channelPeers{r}, Outputs: daemonOutputs{r},
	}
}

// flowOf is the share of the node's work of a daemon that publishes, here or elsewhere.
func (r *Runtime) flowOf(id identity.EntityID) *fair.Flow {
	if d, err := r.find(id); err == nil {
		return d.Share()
	}
	return r.foreign
}

// channelPeers reaches other nodes, and this one, about channels.
type channelPeers struct{ rt *Runtime }

// PeerIDs returns the peers that the mesh has.
func (p channelPeers) PeerIDs() []identity.NodeID {
	if lister, ok := p.rt.mesh.(interface{ PeerIDs() []identity.NodeID }); ok {
		return lister.PeerIDs()
	}
	return nil
}

// OpenChannel opens a stream about channels to a node, this one included.
func (p channelPeers) OpenChannel(ctx context.Context, node identity.NodeID) (channel.Conn, error) {
	return p.rt.openChannel(ctx, node)
}

// openChannel opens a stream about channels to a node, this one included.
func (r *Runtime) openChannel(ctx context.Context, at identity.NodeID) (channel.Conn, error) {
	if at == r.env.Self {
		near, far := channel.Pipe()
		go func() {
			r.handleChannel(ctx, r.env.Self, mesh.AccessChannels|mesh.AccessOutputs, far)
			_ = far.Close() // a pipe's never fails
		}()
		return near, nil
	}

	if r.mesh == nil {
		return nil, fmt.Errorf("%w: %s: this node has no peers", mesh.ErrUnknownNode, at)
	}
	peer, err := r.mesh.Peer(at)
	if err != nil {
		return nil, err
	}
	return peer.OpenChannel(ctx)
}

// daemonOutputs gives the broker the outputs of this node's daemons.
type daemonOutputs struct{ rt *Runtime }

// ByOrigin returns the daemon of that origin, or where it went.
func (o daemonOutputs) ByOrigin(origin identity.OriginHash) (identity.EntityID, error) {
	r := o.rt
	var id identity.EntityID
	if d := r.table.ByOrigin(origin); d != nil {
		id = d.Entity()
	} else {
		gone, err := r.movedAs(table.OriginEntry(origin), func(e identity.EntityID, _ string) bool { return e.Origin() == origin })
		if err != nil {
			return id, err
		}
		if len(gone) > 0 {
			id = gone[0]
		}
	}

	if id.IsZero() {
		return id, fmt.Errorf("%w: node %s has no daemon %s", channel.ErrNoChannel, r.env.Self, origin)
	}
	_, err := r.find(id)
	return id, err
}

// Head returns the sequence of the daemon's newest output, and waits for no event.
func (o daemonOutputs) Head(id identity.EntityID) (uint64, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return 0, err
	}
	if !d.TryLock() {
		return d.Info().Sequence, nil // as it was before the event that it processes
	}
	defer d.Unlock()
	return d.Position().Head.Sequence, nil
}

// TailAfter is Outputs.TailAfter, or Tail where there is no history.
func (o daemonOutputs) TailAfter(ctx context.Context, id identity.EntityID, sequence uint64) (<-chan chain.Output, error) {
	out, err := o.rt.Outputs().TailAfter(ctx, id, sequence)
	if errors.Is(err, daemon.ErrNoHistory) {
		out, err = o.rt.Outputs().Tail(ctx, id)
	}
	return out, err
}

// Reaches is Outputs.Reaches.
func (o daemonOutputs) Reaches(ctx context.Context, id identity.EntityID, sequence uint64) error {
	return o.rt.Outputs().Reaches(ctx, id, sequence)
}

// ErrCursorGone says that a daemon's outputs do not reach to the cursor: it is of another
// daemon, or the outputs were dropped by a rollback.
var ErrCursorGone = errors.New("the daemon has no output of that cursor")

// Reaches returns nil where the daemon has made an output of that sequence, or more;
// ErrCursorGone. ctx bounds the waiting for the event that the daemon is processing.
func (r Outputs) Reaches(ctx context.Context, id identity.EntityID, sequence uint64) error {
	d, err := r.rt.find(id)
	if err != nil {
		return err
	}
	if sequence <= d.Info().Sequence {
		return nil
	}
	if err := d.Peek(ctx); err != nil { // an event that is processed may be newer than what is shown
		return err
	}
	head := d.Position().Head.Sequence
	d.Unlock()
	if sequence > head {
		return fmt.Errorf("%w: daemon %s has made %d outputs, the cursor is of output %d", ErrCursorGone, d.Entity().Origin(), head, sequence)
	}
	return nil
}
