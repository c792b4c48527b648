package journal

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Halt says that the daemon was stopped, or started again.
type Halt struct {
	_       struct{} `cbor:",toarray"`
	Stopped bool
	Time    int64
}

func (*Halt) tag() byte { return 16 }

// Mend is a mending in the history. What follows is of its epoch.
type Mend struct {
	_          struct{} `cbor:",toarray"`
	Fact       chain.Mended
	Time       int64
	Checkpoint chain.Checkpoint // PurposeMend; State is the fact's hash
}

// Begin is the first record: how the daemon came to be. A daemon spawned
// afresh begins at genesis; one restored from a snapshot begins at the
// snapshot's head, which Checkpoint signs.
type Begin struct {
	_           struct{} `cbor:",toarray"`
	Kind        string
	Module      []byte
	Config      []byte
	Time        int64
	Epoch       uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	Checkpoint  chain.Checkpoint // PurposeRestart at Head
}

// Grant is what the daemon may do from here on.
type Grant struct {
	_      struct{} `cbor:",toarray"`
	Grants effect.Grants
	Time   int64
}

// Sent says that what went to a place was taken there, up to the effect of
// that name, or is given up.
type Sent struct {
	_      struct{} `cbor:",toarray"`
	Place  effect.Place
	Epoch  uint64
	Number uint64
	Lost   string // why it is given up; empty: it was taken
	Time   int64
}

// Replied says that replies were taken by the daemon that asked, up to that of the name, or
// are given up.
type Replied struct {
	_      struct{} `cbor:",toarray"`
	To     identity.EntityID
	Epoch  uint64
	Number uint64
	Lost   string // why they are given up; empty: they were taken
	Time   int64
}

// Bind is a subscription that began, or was given another token or source.
type Bind struct {
	_       struct{} `cbor:",toarray"`
	Binding channel.Binding
	Time    int64
}

// Unbind is a subscription that ended.
type Unbind struct {
	_         struct{} `cbor:",toarray"`
	Publisher identity.NodeID
	Channel   string
	Time      int64
}

// Checkpoint is a checkpoint that the daemon signed on its way.
type Checkpoint struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint chain.Checkpoint
}

// Move is a change of owner. What follows is of Epoch.
type Move struct {
	_          struct{} `cbor:",toarray"`
	From, To   identity.NodeID
	Epoch      uint64
	Time       int64
	Checkpoint chain.Checkpoint // PurposeHandover: the source's signature
}

// Upgrade is a change of code. The state went from the old code to the
// new through their hooks; a snapshot of it was stored with the record.
type Upgrade struct {
	_          struct{} `cbor:",toarray"`
	From, To   []byte   // SHA-256 of the modules
	Time       int64
	Checkpoint chain.Checkpoint // PurposeUpgrade
}

func (*Begin) tag() byte { return 1 }

func (*Checkpoint) tag() byte { return 4 }

func (*Move) tag() byte { return 5 }

func (*Upgrade) tag() byte { return 6 }

func (*Mend) tag() byte { return 8 }

func (*Bind) tag() byte { return 10 }

func (*Unbind) tag() byte { return 11 }

func (*Grant) tag() byte { return 14 }

func (*Sent) tag() byte { return 15 }

func (*Replied) tag() byte { return 19 }
