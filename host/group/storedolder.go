package group

import (
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// olderRecord is a group of a data directory of version 4 or before, which knew nothing of
// Member.Born.
type olderRecord struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Kind     string
	Size     int
	Strategy Strategy
	Config   []byte
	Place    placeRecord
	Standbys int
	Ack      string
	Signer   identity.EntityID
	Seed     []byte
	Members  []olderMember
}

type olderMember struct {
	_      struct{} `cbor:",toarray"`
	Index  uint8
	Entity identity.EntityID
	Node   identity.NodeID
	Epoch  uint64
	Health Health
	Reason string
	Lost   []identity.NodeID
}

// decodeGroup reads a group's record, of this version or an earlier one.
func decodeGroup(b []byte) (groupRecord, error) {
	var rec groupRecord
	err := canon.Unmarshal(b, &rec)
	if err == nil {
		return rec, nil
	}

	var old olderRecord
	if canon.Unmarshal(b, &old) != nil {
		return groupRecord{}, err
	}

	rec = groupRecord{Name: old.Name, Kind: old.Kind, Size: old.Size, Strategy: old.Strategy, Config: old.Config, Place: old.Place, Standbys: old.Standbys, Ack: old.Ack,
		Signer: old.Signer, Seed: old.Seed, Made: MaxSize + 1}
	for _, m := range old.Members {
		rec.Members = append(rec.Members, memberRecord{Index: m.Index, Entity: m.Entity, Node: m.Node, Epoch: m.Epoch, Health: m.Health, Reason: m.Reason, Lost: m.Lost, Born: uint64(m.Index) + 1})
	}
	return rec, nil
}
