package control

import "time"

// Bounds of requests, which a client can keep itself.
const (
	MaxHave = 250_000 // objects that a request for a backup can name

	TopInterval    = time.Second // for which top looks, where the request says nothing
	MaxTopInterval = time.Minute
	TopDaemons     = 20 // that top names, where the request says nothing
	MaxTopDaemons  = 10_000

	DefaultRolloutParallel = 4 // daemons that a rollout moves at a time
	MaxRolloutParallel     = 64

	maxPage  = 1000       // entries of a page of a list
	maxJSON  = 1 << 20    // bytes of a JSON body
	maxEvent = 16<<20 + 1 // bytes of an event in a body
)
