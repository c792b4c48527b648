package api

import (
	"time"
)

// Channel is a channel. Subscribers is only in the answer about one channel.
type Channel struct {
	Name    string    `json:"name"`
	NodeID  string    `json:"node_id"`
	Roots   []string  `json:"token_roots"` // entity ids
	Gated   bool      `json:"gated"`       // it asks for a token
	Family  bool      `json:"family"`
	Created time.Time `json:"created"`
	Birth   string    `json:"birth"`  // changes when the channel is removed and created again
	Cursor  string    `json:"cursor"` // of the newest event: BIRTH:SEQUENCE
	First   uint64    `json:"first_sequence"`
	Next    uint64    `json:"next_sequence"`
	Events  uint64    `json:"events"`
	Bytes   int64     `json:"bytes"`

	KeepEvents uint64 `json:"keep_events"`
	KeepBytes  int64  `json:"keep_bytes"`
	KeepFor    string `json:"keep_for"` // a duration

	Subscribers []ChannelSubscriber `json:"subscribers,omitempty"`
}

// ChannelSubscriber is a daemon that hears a channel.
type ChannelSubscriber struct {
	Origin   string     `json:"origin"`
	EntityID string     `json:"entity_id"`
	NodeID   string     `json:"node_id"`
	Cursor   uint64     `json:"cursor"`
	Lag      uint64     `json:"lag"`
	Expires  *time.Time `json:"expires,omitempty"` // its token
}

// CreateChannel asks for a channel.
type CreateChannel struct {
	Name   string   `json:"name"`
	Roots  []string `json:"token_roots,omitempty"`
	Gated  bool     `json:"gated,omitempty"`
	Family bool     `json:"family,omitempty"`

	KeepEvents uint64 `json:"keep_events,omitempty"`
	KeepBytes  int64  `json:"keep_bytes,omitempty"`
	KeepFor    string `json:"keep_for,omitempty"`
}

// ChannelEvent is one event of a channel, or a gap in it.
type ChannelEvent struct {
	Sequence uint64    `json:"sequence"`
	Cursor   string    `json:"cursor"` // BIRTH:SEQUENCE: what follows the event, or the gap, is got with after=CURSOR
	Time     time.Time `json:"time,omitzero"`
	From     string    `json:"from,omitempty"`    // entity id of who published it; absent: the node's owner
	Text     *string   `json:"text,omitempty"`    // when the payload is UTF-8
	Payload  string    `json:"payload,omitempty"` // base64
	Lost     uint64    `json:"lost_through,omitempty"`

	Error *Problem `json:"error,omitempty"` // why the stream ends: the last line, with nothing else
}

// Published says which events were published.
type Published struct {
	First uint64 `json:"first_sequence"`
	Count int    `json:"count"`

	Error *Problem `json:"error,omitempty"` // nothing after this is taken
}

// Subscription is one of a daemon's subscriptions.
type Subscription struct {
	Publisher string     `json:"publisher"` // node id
	Channel   string     `json:"channel"`
	Cursor    uint64     `json:"cursor"`
	Lag       uint64     `json:"lag"`
	State     string     `json:"state"`
	Reason    string     `json:"reason,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"` // its token
}

// Subscribe asks for a subscription.
type Subscribe struct {
	Publisher string `json:"publisher"` // node id or name, whole
	Channel   string `json:"channel"`
	Token     []byte `json:"token,omitempty"`
}

// Revocation is a revocation of tokens.
type Revocation struct {
	Issuer     string `json:"issuer"`
	Floor      uint64 `json:"floor"`
	Revocation string `json:"revocation"` // its text
}
