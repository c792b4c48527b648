package wire

import (
	"errors"
	"fmt"

	"wasmhost.example/host"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// A peer is trusted by its key. Its name is for people: what it called itself when it came
// to be trusted, or when it joined again with another token. What it calls itself at a
// later hello changes nothing, so that nobody takes another's name, and a name that an
// operator has seen stays that node's.

// ErrPeerName says that a peer cannot have the name that it gives itself.
var ErrPeerName = errors.New("the node is listed without a name")

// reservedNames stand for something else where a node is named, beside those that no
// node can have (host.ValidNodeName).
var reservedNames = map[string]bool{"none": true, "self": true}

// checkPeerName returns why a peer of that key is not listed under a name: it is none, or
// another node's.
func (m *Mesh) checkPeerName(key identity.EntityID, name string) error {
	if err := host.ValidNodeName(name); err != nil {
		return fmt.Errorf("%w: %w", ErrPeerName, err)
	}
	if reservedNames[name] {
		return fmt.Errorf("%w: %q is no name of a node", ErrPeerName, name)
	}
	if name == m.config.Name {
		return fmt.Errorf("%w: %q is this node's name", ErrPeerName, name)
	}

	peers, err := m.config.Trust.List()
	if err != nil {
		return fmt.Errorf("reading the trusted nodes: %w", err)
	}

	for _, p := range peers {
		if p.Name == name && p.Key != key {
			return fmt.Errorf("%w: node %s has the name %q", ErrPeerName, p.Key.Node(), name)
		}
	}
	return nil
}

// peerName is the name that a peer is listed under which calls itself said. again has it
// take another name than it had: its operator and this node's gave it a token.
func (m *Mesh) peerName(known trust.Peer, key identity.EntityID, said string, again bool) string {
	had := ""
	if known.Key == key {
		had = known.Name
	}

	if said == had || said == "" || had != "" && !again {
		return had
	}
	if err := m.checkPeerName(key, said); err != nil {
		m.config.Logger.Warn("a peer's name is not taken", "peer", key.Node(), "error", err)
		return had
	}

	return said
}
