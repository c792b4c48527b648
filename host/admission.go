package host

import (
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/identity"
)

// Whether a request may run at a daemon here and now: what is known is gathered here,
// and lifecycle.Question answers.

// mayTake returns why the node takes nothing for the daemon that is to be recorded, as
// far as can be said without the daemon's lock.
func (r *Runtime) mayTake(id identity.EntityID) error {
	q := lifecycle.Question{Node: r.ready(), Room: r.room(), Refused: r.mayRun(id), State: lifecycle.Running}
	_, err := q.Answer()
	return err
}
