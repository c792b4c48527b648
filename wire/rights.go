package wire

import (
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// Allow returns nil when the peer has the right. Otherwise it counts and logs
// that the peer asked for what, and returns an error that wraps ErrDenied.
func (m *Mesh) Allow(peer identity.NodeID, right trust.Rights, what string) error {
	known, err := m.trusted(peer)
	if err == nil && known.Rights&right == right {
		return nil
	}
	m.noteDenied(peer)
	m.config.Logger.Warn("denied", "peer", peer, "what", what, "needs", right, "has", known.Rights)
	return fmt.Errorf("%w: %s, which needs %s", trust.ErrDenied, what, right)
}

// noteDenied counts that a peer asked for what it may not do.
func (m *Mesh) noteDenied(peer identity.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.denied[peer]++
}

// Grant sets what a trusted node may do.
func (m *Mesh) Grant(key identity.EntityID, rights trust.Rights) error {
	m.trusting.Lock()
	defer m.trusting.Unlock()

	p, err := m.trusted(key.Node())
	if err != nil {
		return err
	}

	p.Rights = rights & trust.RightsVoter
	defer m.grants.Add(1)
	return m.config.Trust.Put(p)
}
