package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// drainingKey is the record in store.Meta that says that the node is draining.
var drainingKey = []byte("draining")

// SetDraining makes the node refuse new daemons, spawned or coming from other
// nodes, or take them again. Those that it has go on, and may leave. With
// lasting it is so after a restart too. Daemons that are on their way here
// already still come.
func (r Node) SetDraining(on, lasting bool) error {
	if lasting && r.rt.env.Store != nil {
		b := &store.Batch{}
		if on {
			b.Put(store.Meta, drainingKey, []byte{1})
		} else {
			b.Delete(store.Meta, drainingKey)
		}
		if err := r.rt.env.Store.Commit(b); err != nil {
			return fmt.Errorf("storing whether the node is draining: %w", err)
		}
	}
	what := daemon.DrainingEnded
	if on {
		what = daemon.DrainingBegan
	}
	if r.rt.draining.Swap(on) != on {
		r.rt.env.Notify(daemon.Notification{Topic: what})
	}
	return nil
}

// Draining reports whether the node refuses new daemons.
func (r Node) Draining() bool { return r.rt.draining.Load() }

// recoverDraining finds out whether the node was draining when it ended.
func (r *Runtime) recoverDraining() error {
	_, err := r.env.Store.Get(store.Meta, drainingKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.draining.Store(true)
	r.env.Logger.Warn("the node is draining, as when it ended: it takes no daemons until it is undrained")
	return nil
}
