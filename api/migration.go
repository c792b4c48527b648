package api

import (
	"time"
)

// Migrate asks for a migration.
type Migrate struct {
	To           string `json:"to"`                      // node id or name, whole
	OmitIdentity bool   `json:"omit_identity,omitempty"` // the target has the key, or the migration fails
	PublicOnly   bool   `json:"public_only,omitempty"`   // the key stays here: the daemon signs nothing on the target
	Detach       bool   `json:"detach,omitempty"`        // answer at once

	DowntimeMS float64 `json:"downtime_ms,omitempty"`           // for which senders may wait; 0: 50
	MaxRounds  int     `json:"max_rounds,omitempty"`            // before the pause; 0: 30
	DeadlineMS int64   `json:"deadline_ms,omitempty"`           // after which it is given up; 0: none
	Rate       int64   `json:"rate_bytes_per_second,omitempty"` // that may be sent; 0: any
}

// MigrationStep is one line of the answer to Migrate: a phase that began, or
// the end.
type MigrationStep struct {
	Phase  string           `json:"phase,omitempty"`
	Round  *Round           `json:"round,omitempty"` // that has ended
	Bytes  int64            `json:"bytes,omitempty"` // sent so far
	Done   int64            `json:"done,omitempty"`  // bytes of Whole, before compression
	Whole  int64            `json:"whole,omitempty"`
	Report *MigrationReport `json:"report,omitempty"`
	Error  *Problem         `json:"error,omitempty"`
}

// MigrationReport is how a migration went.
type MigrationReport struct {
	Origin     string      `json:"origin"`
	From       string      `json:"from"`
	To         string      `json:"to"`
	Epoch      uint64      `json:"epoch"`
	Bytes      int64       `json:"bytes"`
	DowntimeMS float64     `json:"downtime_ms"`
	Phases     []PhaseTime `json:"phases"`
	Rounds     []Round     `json:"rounds"`                 // the last is the pause
	Receipt    string      `json:"receipt,omitempty"`      // its digest
	ReceiptRaw []byte      `json:"receipt_cbor,omitempty"` // the receipt

	Unbound []Unbound `json:"unbound,omitempty"` // subscriptions that the target could not bind yet; it goes on trying
}

// Unbound is a subscription that a target could not bind, and why.
type Unbound struct {
	Publisher string `json:"publisher"`
	Channel   string `json:"channel"`
	Code      string `json:"code"` // as of a Problem
	Reason    string `json:"reason"`
}

// Round is one pass of a migration over what the target lacks.
type Round struct {
	Number   int     `json:"number"`
	How      string  `json:"how"` // bulk, replay or pages
	Records  int     `json:"records"`
	Blocks   int     `json:"blocks"`
	Bytes    int64   `json:"bytes"`
	MS       float64 `json:"ms"`
	LeftMS   float64 `json:"left_ms"`             // how long the pause was expected to be, after it
	SlowedMS float64 `json:"slowed_ms,omitempty"` // from one event to the next, at least
}

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Phase string  `json:"phase"`
	MS    float64 `json:"ms"`
}

// Mend asks for a daemon that cannot go on to be brought back: How is retry,
// skip or rollback.
type Mend struct {
	How string `json:"how"`
}

// Mended is what a mending did.
type Mended struct {
	How      string `json:"how"`
	Count    uint64 `json:"count"`                      // skip: events that differed; rollback: history records dropped
	Sequence uint64 `json:"dropped_sequence,omitempty"` // rollback: of the last output dropped
	Head     string `json:"dropped_head,omitempty"`     // rollback: its hash
	After    uint64 `json:"after_sequence"`
	Epoch    uint64 `json:"epoch"`
}

// Receipt is what both hosts of a migration say of it.
type Receipt struct {
	Digest     string    `json:"digest"` // SHA-256 of the receipt's bytes
	Origin     string    `json:"origin"`
	EntityID   string    `json:"entity_id"`
	Kind       string    `json:"kind"`
	Module     string    `json:"module"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	FromKey    string    `json:"from_key,omitempty"`
	ToKey      string    `json:"to_key"`
	Epoch      uint64    `json:"epoch"`
	Sequence   uint64    `json:"sequence"`
	Applied    uint64    `json:"events_applied"`
	Head       string    `json:"head"`
	State      string    `json:"state,omitempty"` // the hash of the memory
	Queued     uint64    `json:"queued"`
	Bytes      uint64    `json:"bytes"`
	Rounds     uint64    `json:"rounds"` // of the migration, the first and the pause among them; 0: a restart came between
	DowntimeMS float64   `json:"downtime_ms"`
	Started    time.Time `json:"started"`
	Activated  time.Time `json:"activated"`
	Confirmed  time.Time `json:"confirmed"`
	Whole      bool      `json:"whole"` // signed by both; else by the target only
}

// Migration is one that the node takes or took part in.
type Migration struct {
	Name       string     `json:"name,omitempty"`
	Origin     string     `json:"origin"`
	EntityID   string     `json:"entity_id"`
	Peer       string     `json:"peer"`
	Role       string     `json:"role"`  // the node's: source or target
	State      string     `json:"state"` // running, waiting (for the other node), moved or failed
	Phase      string     `json:"phase"`
	Epoch      uint64     `json:"epoch"`
	Sequence   uint64     `json:"sequence,omitempty"`
	Bytes      int64      `json:"bytes"`
	Done       int64      `json:"done,omitempty"`
	Whole      int64      `json:"whole,omitempty"`
	Rounds     int        `json:"rounds"`
	DowntimeMS float64    `json:"downtime_ms,omitempty"`
	Began      time.Time  `json:"began"`
	Ended      *time.Time `json:"ended,omitempty"`
	Reason     string     `json:"reason,omitempty"`
}

// Resolve asks for such a migration to be settled without the other side: How is
// take-back, claim or drop.
type Resolve struct {
	How      string `json:"how"`
	Identity []byte `json:"identity,omitempty"` // with claim: the seed of the daemon's key
}
