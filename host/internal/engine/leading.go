package engine

import (
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Entity implements leader.Daemon.
func (x Cluster) Entity() identity.EntityID { return x.d.id }

// Name implements leader.Daemon.
func (x Cluster) Name() string { return x.d.name }

// Modules implements leader.Daemon.
func (x Cluster) Modules() (module, previous []byte) {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.module, d.previous
}

// Facts implements leader.Daemon.
func (x Cluster) Facts() ([]byte, error) {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Image().EncodeFacts()
}

// StoreWhole implements leader.Daemon.
func (x Cluster) StoreWhole() (bool, error) {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.daemon == nil || d.Moves().IsMoving() {
		return false, nil
	}
	b := &store.Batch{}
	if err := d.putWhole(b); err != nil {
		return false, err
	}
	d.commit(b)
	return true, nil
}

// AtRest implements leader.Daemon.
func (x Cluster) AtRest(fn func()) {
	x.d.mu.Lock()
	defer x.d.mu.Unlock()
	fn()
}
