package server

import (
	"wasmhost.example/api/client"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

const maxPeerAnswer = 16 << 20 // bytes of JSON of a peer that a node asks

// peerClient makes a client by which a node asks a peer.
func peerClient(m *wire.Mesh, id identity.NodeID) *client.Client {
	return client.New(m.HTTPTransport(id)).Reading(maxPeerAnswer)
}
