package api

import (
	"time"
)

// Conflict is what a proof of equivocation proves.
type Conflict struct {
	Origin   string    `json:"origin"`
	EntityID string    `json:"entity_id"`
	Epoch    uint64    `json:"epoch"`
	Sequence uint64    `json:"sequence"`
	Hashes   [2]string `json:"hashes"` // of the links that are said to stand there
	Handover bool      `json:"handover,omitempty"`
}

// Accusation is a proof on record.
type Accusation struct {
	Conflict
	Recorded time.Time  `json:"recorded"`
	Found    bool       `json:"found"` // by the node itself; else an operator brought it
	Pardoned *time.Time `json:"pardoned,omitempty"`
}
