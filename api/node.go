package api

import (
	"time"
)

// Capabilities are what a node announces of itself, to whoever may ask it
// anything.
type Capabilities struct {
	Tags        map[string]string `json:"tags"`
	FreeMemory  int64             `json:"free_memory_bytes"`  // 0: not known
	TotalMemory int64             `json:"total_memory_bytes"` // 0: not known
	Daemons     int               `json:"daemons"`
	Alike       int               `json:"alike,omitempty"` // daemons of the kind that the question named
	Load        *float64          `json:"load,omitempty"`  // threads that run or want to, for each processor; absent: not known
	Draining    bool              `json:"draining"`
	Granted     string            `json:"granted,omitempty"` // what the peer that asks may do there
}

// Node is what a node says of itself.
type Node struct {
	NodeID  string `json:"node_id"`
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	Key     string `json:"key,omitempty"`
	Self    bool   `json:"self"`
	Online  bool   `json:"connected"`
	Rights  string `json:"rights,omitempty"` // what the peer may do here
	Denied  uint64 `json:"denied,omitempty"` // how often it asked for more
	Version string `json:"version,omitempty"`

	Capabilities *Capabilities `json:"capabilities,omitempty"` // of one node that was asked, and answered
	Budgets      []NodeBudget  `json:"budgets,omitempty"`      // of the node itself, for callers that are no nodes
}

// NodeBudget is one of a node's bounds on the bytes that it holds for callers.
type NodeBudget struct {
	Name    string `json:"name"`
	Used    int64  `json:"used"` // bytes, as Peak and Most
	Peak    int64  `json:"peak"` // since the node started
	Most    int64  `json:"most"`
	Waiting int    `json:"waiting"` // callers
	Refused uint64 `json:"refused"` // requests, since the node started
}

// Token is a join token.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// Backup asks a node for its data directory as it is at one moment.
type Backup struct {
	Recipient string   `json:"recipient"`        // the seal key for which the node's key is sealed, 64 hexadecimal digits
	Holder    string   `json:"holder,omitempty"` // the recipient's key file under a passphrase, which the manifest carries
	Parent    string   `json:"parent,omitempty"` // the last backup of the place
	Have      []string `json:"have,omitempty"`   // digests of objects that the place has, which are not sent
}

// Held is a daemon that serves nothing until an operator decides, or until a standby
// answers.
type Held struct {
	Name     string    `json:"name,omitempty"`
	Origin   string    `json:"origin"`
	EntityID string    `json:"entity_id"`
	Code     string    `json:"code"` // unconfirmed, stale-epoch, forked or waiting
	Why      string    `json:"why"`
	Since    time.Time `json:"since"`
	NodeID   string    `json:"node_id,omitempty"` // that has more, or may have
	Epoch    uint64    `json:"epoch,omitempty"`   // of that node's copy
	Index    uint64    `json:"records,omitempty"` // of that node's history
}

// Incarnation says which life of a node this is.
type Incarnation struct {
	Number    uint64    `json:"incarnation"`       // how often the node was restored from a backup
	Backup    string    `json:"backup,omitempty"`  // its id
	Taken     time.Time `json:"taken,omitzero"`    // when the backup was made
	Restored  time.Time `json:"restored,omitzero"` // when it was restored
	Confirmed bool      `json:"confirmed"`         // an operator has confirmed it, or it was never restored
}
