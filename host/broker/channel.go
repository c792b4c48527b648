package broker

import (
	"encoding/binary"
	"sync"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Policy says who may use a channel and how much of it is kept.
type Policy struct {
	_      struct{}            `cbor:",toarray"`
	Roots  []identity.EntityID // whose tokens are good; with any, the channel asks for one
	Gated  bool                // it asks for a token, whether or not there are roots
	Family bool                // the channels beneath it come to be, with this policy, when they are first used
	Limits channel.Limits      // of the log
}

func (p *Policy) gated() bool { return p.Gated || len(p.Roots) > 0 }

// Info is what a channel is, and where it stands.
type Info struct {
	Name        string
	Birth       string // as in a Cursor
	Policy      Policy
	Created     time.Time
	First       uint64 // sequence of the oldest event that is kept; Next where none is
	Next        uint64 // that the next event will have
	Events      uint64 // that are kept
	Bytes       int64
	Subscribers []Subscriber
}

// Subscriber is a daemon that hears a channel.
type Subscriber struct {
	Entity  identity.EntityID
	Node    identity.NodeID
	Cursor  uint64 // sequence of the last event that it is known to have applied
	Expires time.Time
}

// Channel is one channel: its policy and its log.
type Channel struct {
	broker *Broker
	name   string
	rec    storedChannel
	source identity.EntityID // of its events; changed while the node's channels are closed
	former []formerBirth     // the newest first; as source

	carrying   sync.Mutex // held while a daemon's effects are put into it; before publishing
	publishing sync.Mutex // held while events are put into the log, so that they are written in order; before mu

	mu         sync.Mutex
	log        *channel.Log
	durable    uint64        // sequence of the newest event that a crash does not take
	stale      bool          // the log has what the store refused
	generation uint64        // of the store that the log follows from
	kept       uint64        // sequence of the oldest event that the store has
	removed    bool          // it is no more
	changed    chan struct{} // closed, and replaced, when durable grows or removed is set

	authors map[identity.EntityID]effect.Mark // the last that daemons published here
	last    *Pending                          // what was published last; nil: nothing yet, or there is no store
}

// storedChannel is how the store keeps what a channel is.
type storedChannel struct {
	_       struct{} `cbor:",toarray"`
	Policy  Policy
	Born    []byte // drawn at random, 16 bytes
	Created int64
}

func newChannel(b *Broker, name string, rec storedChannel) *Channel {
	c := &Channel{broker: b, name: name, rec: rec, source: channel.SourceOf(b.env.Self, [16]byte(rec.Born), name),
		log: channel.NewLog(rec.Policy.Limits, b.env.Store != nil, 1), kept: 1, changed: make(chan struct{})}
	if b.env.Store != nil {
		c.generation = b.env.Store.Generation()
	}
	return c
}

func (c *Channel) info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := Info{Name: c.name, Birth: birthOf(c.source), Policy: c.rec.Policy, Created: time.Unix(0, c.rec.Created), First: c.log.First(), Next: c.log.Next()}
	i.Events, i.Bytes = c.log.Size()
	return i
}

// key is where the store has the chunk that begins with the event.
func (c *Channel) key(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), c.rec.Born...), sequence)
}

// wake needs c.mu.
func (c *Channel) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}
