package daemon

import (
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// LogLine is one line that a daemon, or the runtime on its behalf, wrote.
type LogLine struct {
	Time  time.Time
	Level string // debug, info, warn or error
	Text  string
}

// Loss says what of a daemon's acknowledged outputs is gone, as far as is known.
type Loss struct {
	From  uint64 // sequence of the first output that may be gone
	To    uint64 // of the last that is known to be gone; 0: it is not known how far they went
	Epoch uint64 // under which they were acknowledged
	Why   string
	Time  time.Time
}

// String says it in a sentence.
func (l *Loss) String() string {
	if l.To > 0 {
		return fmt.Sprintf("outputs %d to %d, acknowledged in epoch %d, are lost: %s", l.From, l.To, l.Epoch, l.Why)
	}
	return fmt.Sprintf("outputs from %d on, if any were acknowledged in epoch %d, are lost: %s", l.From, l.Epoch, l.Why)
}

// MaxConfigBytes is how many bytes of configuration a daemon is made with.
const MaxConfigBytes = 512 << 10

// ErrConfigTooLarge says that a daemon's configuration is larger than MaxConfigBytes.
var ErrConfigTooLarge = errors.New("the configuration is too large")

// SpawnRequest says what to spawn.
type SpawnRequest struct {
	Kind     string
	Name     string            // unique on the node; empty: made from the kind and the origin
	Identity *identity.KeyPair // nil: drawn at random. The runtime keeps a copy
	Config   []byte            // for the daemon's Init
	Limits   Limits            // of its own, where set: over its kind's, which are over the node's
	Grants   effect.Grants     // what it may do; none: of a snapshot, what it might
	Epoch    uint64            // at which it begins at least; 0: 1

	// Unsigned takes a snapshot that its daemon has not signed: the caller answers for
	// what is in it. Else such a one is ErrBadSnapshot, and ErrUnsigned.
	Unsigned bool

	// Standbys is on how many other nodes of the cluster the daemon is to be kept, and
	// Ack when one of them holds an event. On a node of no cluster: ErrNoCluster.
	Standbys int
	Ack      directory.Ack
}

// Info is what a daemon is, and where it stands.
type Info struct {
	Name            string
	Entity          identity.EntityID
	Kind            string
	Module          string // digest, hexadecimal; empty for a native daemon
	Node            identity.NodeID
	Epoch           uint64
	Sequence        uint64 // of the head
	State           string // running, passive, migrating, moved, failed, diverged, refused, held, or waiting
	Reason          string // why it is failed, diverged, refused, held or waiting
	EventsProcessed uint64
	EventsEmitted   uint64
	Errors          uint64 // events that it failed on; after a crash or a failover those that its history keeps
	MemoryBytes     int64
	Head            chain.Hash
	Spawned         time.Time // when it was made, wherever that was; of a fork, when it was forked
	Limits          Limits    // that hold
	OwnLimits       Limits    // those of them that are the daemon's own
	StateBytes      int64     // of its state, as it was stored last; 0: not known
	Senders         int       // that it remembers
	Near            Near      // the limits that it is near
	Unstored        string    // why its state could not be stored last; empty: it could
	Waiting         Waiting
	Loss            *Loss // what of it is known to be lost; nil: nothing is
}

// Near is a set of limits that a daemon has come near, of those that grow with what it
// keeps.
type Near uint8

// The limits, each a bit.
const (
	NearMemory Near = 1 << iota
	NearStateBytes
	NearSenders
)

// Names returns the names of the limits.
func (n Near) Names() (names []string) {
	for i, name := range []string{"memory", "state-bytes", "senders"} {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Waiting is what waits for a daemon, of what may.
type Waiting struct {
	Events  int64 // of Limits.Mailbox
	Bytes   int64 // of their payloads, of MailboxBytes
	Readers int64 // callers that look at the daemon, of MaxReaders
}
