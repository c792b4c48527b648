package host

import (
	"context"

	"wasmhost/host/migration"
	"wasmhost/identity"
)

// Mesh is what a runtime needs of a network. host declares it; wire implements
// it over QUIC, hosttest over channels. A runtime never owns its mesh.
type Mesh interface {
	// Peer returns the peer of that id, or an error that wraps ErrUnknownNode.
	Peer(id identity.NodeID) (Peer, error)

	// Handle installs h as the answerer of what peers start; nil removes it.
	// Without a handler the mesh answers ComputeNotSupported.
	Handle(h Handler)
}

// Peer is another node, trusted and reachable or not.
type Peer interface {
	ID() identity.NodeID

	// OpenMigration opens a stream to the peer's Handler. It connects where
	// needed; ctx bounds the connecting and the life of the stream. An error
	// wraps ErrUnreachable.
	OpenMigration(ctx context.Context) (migration.Conn, error)

	// SealKey is the key to which identities are sealed for this peer. It is
	// known once the peer has been connected to; ctx bounds the connecting.
	SealKey(ctx context.Context) (identity.SealKey, error)
}

// Handler answers what peers start. Runtime implements it.
type Handler interface {
	// HandleMigration runs the target's side of one migration, or answers an
	// Ask, on a stream that from opened. It returns when the stream is done
	// with; the caller closes it.
	HandleMigration(ctx context.Context, from identity.NodeID, c migration.Conn)
}
