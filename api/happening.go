package api

import (
	"time"
)

// Happening is something that happened on the node.
type Happening struct {
	Time     time.Time `json:"time"`
	NodeID   string    `json:"node_id"` // where
	What     string    `json:"what"`    // spawned, removed, stopped, started, failed, mended, upgraded, migration-phase, migration-round, migration-ended, came, kind-pushed, kind-removed, draining or undrained; of all nodes: following, from when on a node's are told
	Name     string    `json:"name,omitempty"`
	EntityID string    `json:"entity_id,omitempty"`
	Origin   string    `json:"origin,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Epoch    uint64    `json:"epoch,omitempty"`
	Reason   string    `json:"reason,omitempty"`

	Peer       string  `json:"peer,omitempty"` // of a migration: the other node
	Role       string  `json:"role,omitempty"` // of a migration: this node's
	Phase      string  `json:"phase,omitempty"`
	Round      *Round  `json:"round,omitempty"`
	Bytes      int64   `json:"bytes,omitempty"`
	DowntimeMS float64 `json:"downtime_ms,omitempty"`
}
