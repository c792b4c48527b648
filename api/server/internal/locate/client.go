package locate

import (
	"time"

	"wasmhost.example/api/client"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

const maxPeerAnswer = 16 << 20 // bytes of JSON of a peer that a node asks

// PeerClient makes a client by which a node asks a peer.
func PeerClient(m *wire.Mesh, id identity.NodeID) *client.Client {
	return client.New(m.HTTPTransport(id)).Reading(maxPeerAnswer)
}

// AskTimeout bounds how long a peer is waited for.
const AskTimeout = 2 * time.Second
