package api

import (
	"time"
)

// Spawn asks for a daemon.
type Spawn struct {
	Kind     string `json:"kind"`
	Name     string `json:"name,omitempty"`
	Identity []byte `json:"identity,omitempty"` // the seed, 32 bytes; absent: drawn at random
	Config   []byte `json:"config,omitempty"`

	Limits map[string]int64 `json:"limits,omitempty"` // of its own: bytes, counts, nanoseconds

	Place *Place `json:"place,omitempty"` // where; absent: on the node that is asked

	Standbys int    `json:"standbys,omitempty"` // on how many other nodes of the cluster it is kept
	Ack      string `json:"ack,omitempty"`      // when one of them holds an event: memory, which is the default, or disk

	Subscribe []Subscribe `json:"subscribe,omitempty"` // if one of these fails, there is no daemon

	MayPublish []MayPublish `json:"may_publish,omitempty"` // on which channels; none: on no channel
	MaySend    []string     `json:"may_send,omitempty"`    // to which daemons: names, origins or entity ids, whole, or * for all; a name means the daemon that has it now
}

// Daemon is a daemon and where it stands.
type Daemon struct {
	Name            string    `json:"name"`
	Origin          string    `json:"origin"`
	EntityID        string    `json:"entity_id"`
	Kind            string    `json:"kind"`
	NodeID          string    `json:"node_id"`
	Epoch           uint64    `json:"epoch"`
	Sequence        uint64    `json:"sequence"`
	State           string    `json:"state"`
	Reason          string    `json:"reason,omitempty"`
	Loss            *Loss     `json:"loss,omitempty"`     // of outputs that were acknowledged
	Unstored        string    `json:"unstored,omitempty"` // why its state could not be stored last
	EventsProcessed uint64    `json:"events_processed"`
	EventsEmitted   uint64    `json:"events_emitted"`
	Errors          uint64    `json:"errors"` // events that it failed on; after a crash or a failover those that its history keeps
	Module          string    `json:"module"`
	MemoryBytes     int64     `json:"memory_bytes"`
	Head            string    `json:"head"`
	Spawned         time.Time `json:"spawned"` // when it was made, wherever that was

	Limits   map[string]int64 `json:"limits,omitempty"`   // that hold: bytes, counts, nanoseconds
	Receipts []Receipt        `json:"receipts,omitempty"` // of its last moves, where one daemon is asked for

	Subscriptions []Subscription `json:"subscriptions,omitempty"` // in the answer about one daemon
	Fork          *ForkOf        `json:"fork,omitempty"`          // how it began, in the answer about one daemon that is a fork
	Cluster       *Kept          `json:"cluster,omitempty"`       // where its standbys are, on a node of a cluster; in the answer about one daemon
	Used          []Used         `json:"used,omitempty"`          // of its bounds, in the answer about one daemon
	Effects       *Effects       `json:"effects,omitempty"`       // what it may do, and what is on its way; in the answer about one daemon
}

// Kept is how a daemon of a cluster is kept elsewhere.
type Kept struct {
	Standbys int      `json:"standbys"` // that it is to have
	InSync   []string `json:"in_sync"`  // nodes that hold all that was acknowledged
	Ack      string   `json:"ack"`      // memory or disk
}

// Loss says what of a daemon's acknowledged outputs is gone, as far as is known.
type Loss struct {
	From  uint64    `json:"from_sequence"`
	To    uint64    `json:"to_sequence,omitempty"` // absent: it is not known how far they went
	Epoch uint64    `json:"epoch"`
	Why   string    `json:"why"`
	Time  time.Time `json:"time"`
}

// Snapshot is what a snapshot file says.
type Snapshot struct {
	Name     string    `json:"name"`
	Origin   string    `json:"origin"`
	EntityID string    `json:"entity_id"`
	Kind     string    `json:"kind"`
	Module   string    `json:"module"`
	Epoch    uint64    `json:"epoch"`
	Through  uint64    `json:"through_sequence"`
	Applied  uint64    `json:"events_applied"`
	Head     string    `json:"head"`
	State    int       `json:"state_bytes"`
	Senders  int       `json:"senders"`
	Signed   bool      `json:"signed"`
	Identity bool      `json:"identity_sealed"`
	Created  time.Time `json:"created"`
	Spawned  time.Time `json:"spawned,omitzero"`          // when the daemon was made; absent: the snapshot does not say it
	Previous string    `json:"previous_module,omitempty"` // the module before the last upgrade, to which it can be rolled back
}

// Fork asks for daemons that begin with the state of one.
type Fork struct {
	At       *uint64          `json:"at,omitempty"`        // sequence of the output after which; 0: as it was spawned; absent: now
	LastGood bool             `json:"last_good,omitempty"` // of a daemon that cannot go on: after the last record that can be replayed
	Count    int              `json:"count,omitempty"`     // 0: 1
	Name     string           `json:"name,omitempty"`      // of several, what comes before -1, -2, …
	Limits   map[string]int64 `json:"limits,omitempty"`
}

// ForkOf says how a daemon began as a fork.
type ForkOf struct {
	Parent   string `json:"parent_origin"`
	ParentID string `json:"parent_entity_id"`
	Epoch    uint64 `json:"parent_epoch"`
	Sequence uint64 `json:"after_sequence"`
	Head     string `json:"parent_head"`
	Applied  uint64 `json:"events_applied"`
	State    string `json:"state_hash,omitempty"` // absent: the daemon keeps no state
}
