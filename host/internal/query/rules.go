package query

import (
	"wasmhost.example/abi"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Granted is the rules of a copy, whose calls are only ever made again: they answer as the
// daemon's did.
type Granted struct{ Grants *effect.Grants }

// Publish implements daemon.EffectRules.
func (r Granted) Publish(name string) int32 {
	_, outputs := channel.IsOutputs(name)
	switch {
	case outputs || identity.ValidChannel(name) != nil:
		return abi.EffectInvalid
	case r.Grants.MayPublish(name) == nil:
		return abi.EffectDenied
	}
	return abi.EffectDone
}

// Send implements daemon.EffectRules.
func (r Granted) Send(to [32]byte) int32 {
	if !r.Grants.MaySend(to) {
		return abi.EffectDenied
	}
	return abi.EffectDone
}

// Cost implements daemon.EffectRules.
func (Granted) Cost(payload int) int { return effect.Cost(payload) }

// Room implements daemon.EffectRules: of a state in which nothing is pending.
func (Granted) Room() abi.EffectRoom { return (&effect.State{}).Room() }
