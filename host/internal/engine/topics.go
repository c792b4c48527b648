package engine

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// Position is where a daemon stands, and what it is made of, at one moment. Its pointers and
// slices are the daemon's: who has them needs the daemon's lock, and changes nothing.
type Position struct {
	State lifecycle.State
	Gone  error // why it takes no more events; nil: it takes them

	Code     daemon.Daemon // nil of a passive one
	Module   []byte        // digest; nil of native code
	Previous []byte        // the module before the last upgrade; nil: there was none
	Key      *identity.KeyPair

	Epoch       uint64 // of what it puts out
	Applied     uint64 // events
	Errors      uint64 // events that it failed on
	Head        chain.Link
	HeadHash    chain.Hash // of the head and its payload
	HeadPayload []byte

	Next       uint64          // index of the next record of its history
	Last       *pending.Ticket // answered once all that it has recorded is durable
	Generation uint64          // the store's that all of it follows from
	Used       int64           // when it was entered last, Unix nanoseconds by the runtime's clock

	Effects *effect.State   // what it has sent, and its timers; nil: nothing, and none
	Ledger  *channel.Ledger // what it is subscribed to
}

// Position returns where the daemon stands. It needs d.mu.
func (d *Daemon) Position() Position {
	return Position{
		State: d.life.State(), Gone: d.gone,
		Code: d.daemon, Module: d.module, Previous: d.previous, Key: d.key,
		Epoch: d.epoch, Applied: d.applied, Errors: d.stats.Errors,
		Head: d.chain.Head(), HeadHash: d.chain.HeadHash(), HeadPayload: d.payload,
		Next: d.index, Last: d.last, Generation: d.generation, Used: d.used,
		Effects: d.effects, Ledger: &d.ledger,
	}
}

// A daemon is asked by topic. A topic is the daemon as one kind of caller has it; it costs
// nothing to make, and holds nothing.
type (
	// Making is a daemon that is being made here, of nothing, a snapshot, a history or a
	// copy, and does not serve yet. Its methods need d.mu.
	Making struct{ d *Daemon }

	// Mailbox is how events and queries of senders come to the daemon.
	Mailbox struct{ d *Daemon }

	// Turns is what the daemon does of its own accord, a turn at a time, as the node and
	// its limits let it.
	Turns struct{ d *Daemon }

	// Effects is what the daemon has sent, asked and set timers for, and what comes of that.
	Effects struct{ d *Daemon }

	// Subscriptions is to which channels the daemon is subscribed.
	Subscriptions struct{ d *Daemon }

	// Outputs is for those who follow what the daemon puts out.
	Outputs struct{ d *Daemon }

	// Upkeep is what an operator, or the node, does to a daemon that serves: repairs,
	// upgrades, new limits, events that it failed on.
	Upkeep struct{ d *Daemon }

	// Image is what can be taken of the daemon: snapshots, their headers, checkpoints.
	Image struct{ d *Daemon }

	// Moves is what a migration away does with the daemon.
	Moves struct{ d *Daemon }

	// Cluster is the daemon as its cluster's leader has it.
	Cluster struct{ d *Daemon }

	// Memory is whether the daemon is in memory, and how much it takes of that.
	Memory struct{ d *Daemon }
)

// Making returns the daemon as who makes it has it.
func (d *Daemon) Making() Making { return Making{d} }

// Mailbox returns the daemon as senders have it.
func (d *Daemon) Mailbox() Mailbox { return Mailbox{d} }

// Turns returns the daemon as what it does of its own accord has it.
func (d *Daemon) Turns() Turns { return Turns{d} }

// Effects returns the daemon as who carries out its effects has it.
func (d *Daemon) Effects() Effects { return Effects{d} }

// Subscriptions returns the daemon as its subscriptions have it.
func (d *Daemon) Subscriptions() Subscriptions { return Subscriptions{d} }

// Outputs returns the daemon as those who follow it have it.
func (d *Daemon) Outputs() Outputs { return Outputs{d} }

// Upkeep returns the daemon as who looks after it has it.
func (d *Daemon) Upkeep() Upkeep { return Upkeep{d} }

// Image returns the daemon as who takes snapshots of it has it.
func (d *Daemon) Image() Image { return Image{d} }

// Moves returns the daemon as its migration has it.
func (d *Daemon) Moves() Moves { return Moves{d} }

// Cluster returns the daemon as its cluster has it.
func (d *Daemon) Cluster() Cluster { return Cluster{d} }

// Memory returns the daemon as who has an eye on the node's memory has it.
func (d *Daemon) Memory() Memory { return Memory{d} }
