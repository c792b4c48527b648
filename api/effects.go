package api

import (
	"time"
)

// MayPublish lets a daemon publish on channels of a node. Its code names the
// channel alone.
type MayPublish struct {
	Node    string `json:"node,omitempty"` // node id or name, whole; absent: the node that is asked
	Pattern string `json:"pattern"`        // a channel's name, PREFIX/* for all beneath, or * for all
	Token   []byte `json:"token,omitempty"`
}

// Effects are what a daemon may do to the world, and what of it is still to come.
type Effects struct {
	MayPublish []MayPublish `json:"may_publish,omitempty"` // without the tokens
	MaySend    []string     `json:"may_send,omitempty"`    // entity ids, or *
	Pending    []Pending    `json:"pending,omitempty"`
	Timers     []Timer      `json:"timers,omitempty"`
	PassedOver uint64       `json:"passed_over,omitempty"` // events of timers, daemons and channels that it failed on and nobody tries again, since it came to the node
	Lost       uint64       `json:"lost,omitempty"`        // events that it sent or published and that were passed over or given up, since then
}

// Pending is what has not arrived yet at a channel or a daemon.
type Pending struct {
	Node    string `json:"node_id,omitempty"` // of the channel
	Channel string `json:"channel,omitempty"`
	Daemon  string `json:"entity_id,omitempty"`
	Events  int    `json:"events"`
	Bytes   int64  `json:"bytes"`
	Reason  string `json:"reason,omitempty"` // why it has not, as far as is known
}

// Timer is a timer of a daemon.
type Timer struct {
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	Bytes  int64     `json:"bytes"`
}
