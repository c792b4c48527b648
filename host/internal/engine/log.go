package engine

import (
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
)

// Log is what a daemon of a cluster writes its records to: the store here, and the
// stores of its standbys. A daemon that is no cluster's has none, and writes to the store.
// Its methods are called under the daemon's lock, and what they are given to call must not
// block.
type Log interface {
	// Submit writes the batch. stored is called once this node's disk has answered, finish
	// once the standbys have it too and the node may say so, or with why neither will be.
	Submit(b *store.Batch, stored, finish func(error))

	// Barrier has finish called after all that was submitted, if the node may answer for
	// the daemon then.
	Barrier(finish func(error))

	// Renew is Barrier after something was written to the store here beside the log: the
	// standbys begin anew.
	Renew(finish func(error))

	// Holding returns nil where the daemon may serve, or what is closed when that may have
	// changed.
	Holding() <-chan struct{}

	// Waits says for whom the daemon waits before it serves; nil: for nobody. It takes no
	// lock of the daemon.
	Waits() error

	// HasStandbys reports whether the daemon has standbys, or is to have some.
	HasStandbys() bool
}

// renew has the standbys of a cluster's daemon begin anew, after something was written
// beside its log. It needs d.mu.
func (d *Daemon) renew() *pending.Ticket {
	t := pending.NewTicket()
	d.leader.Renew(t.Finish)
	d.last = t
	return t
}

// waits says for whom a daemon waits before it serves; nil: for nobody.
func (d *Daemon) waits() error {
	if d.leader == nil {
		return nil
	}
	return d.leader.Waits()
}
