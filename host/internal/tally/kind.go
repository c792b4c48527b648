// Package tally counts what the daemons of a kind do.
package tally

import (
	"errors"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/meter"
)

// SampledEvents is of how many events one is timed.
const SampledEvents = 16

// Failures are counted by what went wrong.
var FailureNames = [...]string{string(abi.FaultError), string(abi.FaultTrap), string(abi.FaultExit), string(abi.FaultAnswer),
	abi.LimitFuel, abi.LimitWall, abi.LimitMemory, abi.LimitOutputBytes, abi.LimitOutputCount, abi.LimitLogBytes, abi.LimitStack, abi.LimitPending, abi.LimitTimers, abi.LimitCalls, "other"}

// Failure returns the place in FailureNames of what a daemon's code returned.
func Failure(err error) int {
	var f *daemon.GuestError
	if !errors.As(err, &f) {
		return 0
	}
	name := string(f.Kind)
	if f.Kind == abi.FaultLimit {
		name = f.Limit
	}
	if i := slices.Index(FailureNames[:], name); i >= 0 {
		return i
	}
	return len(FailureNames) - 1
}

// Events counts events. A kind has several, so that daemons which run at a
// time seldom count in one: each is in memory of its own.
type Events struct {
	Events, Repeats, Outputs, Refused meter.Counter
	Internal                          meter.Counter                    // nanoseconds of turns
	Paced                             meter.Counter                    // waits for a rate
	Roomless                          meter.Counter                    // tries of events that found no room
	Passed                            [daemon.EventKinds]meter.Counter // events that are not tried again, by what they were
	Failures                          [len(FailureNames)]meter.Counter
	Process, Delivery                 meter.Histogram
	_                                 [64]byte
}

// Shards is how many meters of events a kind has: a power of two.
const Shards = 8

// Kind counts what the daemons of a kind do.
type Kind struct {
	Events [Shards]Events

	Passivated, Bytes, Rounds meter.Counter
	Downtime                  meter.Histogram

	Mu       lock.Mutex[lock.Leaf]
	Returned map[cameBack]uint64
}

// cameBack is how a daemon came back from disk, as Return has it.
type cameBack struct{ Why, Outcome string }

// CameBack counts a daemon that came back from disk.
func (k *Kind) CameBack(why string, outcome lifecycle.State) {
	k.Mu.Lock()
	defer k.Mu.Unlock()
	if k.Returned == nil {
		k.Returned = make(map[cameBack]uint64)
	}
	k.Returned[cameBack{why, outcome.String()}]++
}
