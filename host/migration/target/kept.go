// Package target is a node's side of the migrations by which daemons come to it: the walk
// from an offer to the source's release (targetWalk.walk has the steps on one page), who
// may come, what comes, and what becomes of a prepared daemon. An Arrival is one daemon on
// its way here; its phase, of package migration, says what may be done with it.
package target

import (
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Kept is what the store keeps of a prepared daemon.
type Kept struct {
	From  identity.NodeID
	Offer migration.Offer
	Named bool // it may come without its own signature
}

// plainKept and namedKept are its encodings; the second is of a daemon that comes
// without its own signature.
type (
	plainKept struct {
		_     struct{} `cbor:",toarray"`
		From  identity.NodeID
		Offer keptOffer
	}
	namedKept struct {
		_     struct{} `cbor:",toarray"`
		From  identity.NodeID
		Offer keptOffer
		Named bool
	}
)

// Encode returns the record.
func (k *Kept) Encode() ([]byte, error) {
	if k.Named {
		return canon.Marshal(&namedKept{From: k.From, Offer: keepOffer(&k.Offer), Named: true})
	}
	return canon.Marshal(&plainKept{From: k.From, Offer: keepOffer(&k.Offer)})
}

// DecodeKept reads a record; it keeps no part of b.
func DecodeKept(b []byte) (*Kept, error) {
	var plain plainKept
	if err := canon.Unmarshal(b, &plain); err == nil {
		return &Kept{From: plain.From, Offer: plain.Offer.offer()}, nil
	}

	var named namedKept
	if err := canon.Unmarshal(b, &named); err != nil {
		return nil, err
	}
	return &Kept{From: named.From, Offer: named.Offer.offer(), Named: named.Named}, nil
}

// keptOffer is what the store keeps of an Offer, in the form that its first
// version had.
type keptOffer struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Migration  migration.ID
	Entity     identity.EntityID
	Name       string
	Kind       string
	Module     []byte
	ModuleSize uint64
	Epoch      uint64
	Identity   bool
	History    uint64
}

func keepOffer(o *migration.Offer) keptOffer {
	return keptOffer{Version: migration.PlainVersion, // what is kept is the same in each version
		Migration: o.Migration, Entity: o.Entity, Name: o.Name, Kind: o.Kind,
		Module: o.Module, ModuleSize: o.ModuleSize, Epoch: o.Epoch, Identity: o.Identity, History: o.History}
}

func (k *keptOffer) offer() migration.Offer {
	return migration.Offer{Version: k.Version, Migration: k.Migration, Entity: k.Entity, Name: k.Name, Kind: k.Kind,
		Module: k.Module, ModuleSize: k.ModuleSize, Epoch: k.Epoch, Identity: k.Identity, History: k.History}
}
