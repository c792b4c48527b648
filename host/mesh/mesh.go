// Package mesh holds what a network between nodes must be for a runtime. Package wire
// implements it over QUIC, hosttest over channels.
package mesh

import (
	"context"
	"errors"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// Errors of reaching another node.
var (
	// ErrUnknownNode says that no trusted node has that id.
	ErrUnknownNode = errors.New("no such node")

	// ErrUnreachable says that the node does not answer. Any error with a method
	// Unreachable matches it, such as a client's, which cannot import this package.
	ErrUnreachable error = unreachable{}
)

type unreachable struct{}

// Error implements error.
func (unreachable) Error() string { return "the node cannot be reached" }

// Unreachable marks the error for clients, which match it by this method.
func (unreachable) Unreachable() {}

// Is matches the same error of another package.
func (unreachable) Is(target error) bool {
	_, ok := target.(interface{ Unreachable() })
	return ok
}

// Mesh is what a runtime needs of a network: wire implements
// it over QUIC, hosttest over channels. A runtime never owns its mesh.
type Mesh interface {
	// Self returns the id of the node that the mesh is: its runtime's.
	Self() identity.NodeID

	// Peer returns the peer of that id, or an error that wraps ErrUnknownNode.
	Peer(id identity.NodeID) (Peer, error)

	// Handle installs h as the answerer of what peers start, and reports whether it did:
	// not while another handler is installed. nil removes the handler. Without one the
	// mesh answers migration.NotReady and channel.ErrNotReady: its node starts, or ends.
	Handle(h Handler) bool

	// Handled reports whether a handler is installed.
	Handled() bool
}

// Peer is another node, trusted and reachable or not.
type Peer interface {
	ID() identity.NodeID

	// OpenMigration opens a stream to the peer's Handler. It connects where
	// needed; ctx bounds the connecting and the life of the stream. An error
	// wraps ErrUnreachable.
	OpenMigration(ctx context.Context) (migration.Conn, error)

	// OpenChannel opens a stream about channels to the peer's Handler; as
	// OpenMigration does.
	OpenChannel(ctx context.Context) (channel.Conn, error)

	// OpenStandby opens a stream about a daemon of this node's to the peer's Handler,
	// for the peer to be its standby; as OpenMigration does.
	OpenStandby(ctx context.Context) (standby.Conn, error)

	// SealKey is the key to which identities are sealed for this peer. It is
	// known once the peer has been connected to; ctx bounds the connecting.
	SealKey(ctx context.Context) (identity.SealKey, error)
}

// Handler answers what peers start: a runtime, which installs its own when it starts.
type Handler interface {
	// HandleMigration runs the target's side of one migration, or answers an
	// Ask, on a stream that from opened. It returns when the stream is done
	// with; the caller closes it.
	HandleMigration(ctx context.Context, from identity.NodeID, c migration.Conn)

	// HandleChannel answers a stream about channels that from opened, which may do
	// without a token what may says. It returns when the stream is done with; the
	// caller closes it.
	HandleChannel(ctx context.Context, from identity.NodeID, may ChannelAccess, c channel.Conn)

	// HandleStandby is this node's part as the standby of a daemon of from's. It
	// returns when the stream is done with; the caller closes it.
	HandleStandby(ctx context.Context, from identity.NodeID, c standby.Conn)
}

// ChannelAccess is what a node may do without a token.
type ChannelAccess uint8

// The accesses.
const (
	AccessChannels ChannelAccess = 1 << iota // use the channels that ask for no token
	AccessOutputs                            // hear daemons' outputs
)
