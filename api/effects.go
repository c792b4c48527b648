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

// Grants are what a daemon may do.
type Grants struct {
	MayPublish []MayPublish `json:"may_publish,omitempty"` // in answers without the tokens
	MaySend    []string     `json:"may_send,omitempty"`    // names, origins or entity ids, whole, or *; in answers entity ids, or *
}

// ChangeGrants changes what a daemon may do: what is revoked is taken away, then what is
// granted is permitted.
type ChangeGrants struct {
	Grant  Grants `json:"grant,omitzero"`
	Revoke Grants `json:"revoke,omitzero"`
}

// Effects are what a daemon may do to the world, and what of it is still to come.
type Effects struct {
	MayPublish []MayPublish `json:"may_publish,omitempty"` // without the tokens
	MaySend    []string     `json:"may_send,omitempty"`    // entity ids, or *
	Pending    []Pending    `json:"pending,omitempty"`
	Timers     []Timer      `json:"timers,omitempty"`
	Calls      []Call       `json:"calls,omitempty"`       // that it made and that have not ended
	Owes       []Owed       `json:"owes,omitempty"`        // what it was asked and has not answered
	Replies    int          `json:"replies,omitempty"`     // its answers that have not arrived yet
	PassedOver uint64       `json:"passed_over,omitempty"` // events of timers, daemons and channels that it failed on and nobody tries again, since it came to the node
	Lost       uint64       `json:"lost,omitempty"`        // events that it sent or published and that were passed over or given up, since then
	Late       uint64       `json:"late,omitempty"`        // replies to calls of its own that had ended, since then
}

// Call is what a daemon asked another, which has not been answered.
type Call struct {
	Number   uint64     `json:"number"`
	Daemon   string     `json:"entity_id"`          // that was asked
	Deadline *time.Time `json:"deadline,omitempty"` // when it times out; absent: never
}

// Owed is what another daemon asked, and has had no answer to.
type Owed struct {
	Number uint64 `json:"number"`    // of the event that asked: what the daemon's code answers
	Daemon string `json:"entity_id"` // that asked
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
