// Package evidence is what a node keeps to prove what daemons did: receipts of their
// moves, the last word that each signed before it left, and proofs that a key has signed
// two histories, whose identities are refused.
package evidence

import (
	"sync/atomic"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/identity"
)

// Records are one node's evidence, in its store, or, without one, in memory: there
// nothing is known of last words. They are safe for concurrent use.
type Records struct {
	env *env.Env

	refused   atomic.Int32 // how many of accused are not pardoned
	remembers atomic.Int64 // mostRemembered, or what Remember says

	mu       lock.RWMutex[lock.Leaf] // guards what follows
	accused  map[identity.EntityID]*accused
	receipts map[identity.EntityID]map[uint64][]byte // by epoch; without a store
}

// New returns the evidence of e's store; Recover reads who is accused.
func New(e *env.Env) *Records {
	r := &Records{env: e, accused: make(map[identity.EntityID]*accused), receipts: make(map[identity.EntityID]map[uint64][]byte)}
	r.remembers.Store(mostRemembered)
	return r
}
