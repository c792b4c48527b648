package api

import (
	"time"
)

// Upgrade asks that a daemon go over to another version of its code.
type Upgrade struct {
	To       string `json:"to,omitempty"` // the module's whole digest, or "latest": the kind's own on the node that is asked
	Rollback bool   `json:"rollback,omitempty"`
}

// Quarantined is an event that a daemon failed on.
type Quarantined struct {
	Index   uint64    `json:"index"`
	Kind    string    `json:"kind"` // direct, channel, gap, timer or daemon: what the event is to the daemon
	Sender  string    `json:"sender"`
	From    string    `json:"from,omitempty"` // whom the guest sees as the sender, where a key proves one
	Number  uint64    `json:"number"`
	Time    time.Time `json:"time"`
	Channel string    `json:"channel,omitempty"`
	Text    string    `json:"text,omitempty"` // when the payload is UTF-8
	Payload []byte    `json:"payload"`
	Error   string    `json:"error"`
}
