package api

import (
	"time"
)

// Bounds of requests, which a client can keep itself.
const (
	MaxHave = 250_000 // objects that a request for a backup can name

	TopInterval    = time.Second // for which top looks, where the request says nothing
	MaxTopInterval = time.Minute // for how long top looks
	TopDaemons     = 20          // that top names, where the request says nothing
	MaxTopDaemons  = 10_000      // daemons that top names

	DefaultRolloutParallel = 4
	MaxRolloutParallel     = 64 // daemons that a rollout upgrades at a time

	MaxPage  = 1000       // entries of a page of a list
	MaxJSON  = 1 << 20    // bytes of a JSON body
	MaxEvent = 16<<20 + 1 // bytes of an event in a body
)

// Headers of requests.
const (
	TokenHeader       = "Wasmhost-Token"     // the text of a permission token
	IdentityHeader    = "Wasmhost-Identity"  // the seed of a restored daemon's identity, in hexadecimal digits
	SignatureHeader   = "Wasmhost-Signature" // of the module that is pushed; it may stand several times
	IdempotencyHeader = "Idempotency-Key"    // under which a request is answered once
)
