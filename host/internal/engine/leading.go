package engine

import (
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
)

// Modules implements leader.Daemon.
func (d *Daemon) Modules() (module, previous []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.module, d.previous
}

// Facts implements leader.Daemon.
func (d *Daemon) Facts() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.EncodeFacts()
}

// StoreWhole implements leader.Daemon.
func (d *Daemon) StoreWhole() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.daemon == nil || d.IsMoving() {
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
func (d *Daemon) AtRest(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn()
}
