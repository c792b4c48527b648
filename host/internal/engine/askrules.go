package engine

import (
	"wasmhost.example/abi"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// granted are the rules of a copy, whose calls are only ever made again: they answer as the
// daemon's did.
type granted struct{ Grants *effect.Grants }

func (r granted) Publish(name string) int32 {
	_, outputs := channel.IsOutputs(name)
	switch {
	case outputs || identity.ValidChannel(name) != nil:
		return abi.EffectInvalid
	case r.Grants.MayPublish(name) == nil:
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (r granted) Send(to [32]byte) int32 {
	if !r.Grants.MaySend(to) {
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (granted) Cost(payload int) int { return effect.Cost(payload) }

func (granted) Room() abi.EffectRoom { return (&effect.State{}).Room() }
