package daemon

import (
	"context"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Daemon is the code behind one daemon: bytes in, bytes out. A module daemon
// is made by the runtime from uploaded Wasm; a native one, for embedding and
// for tests, by the program. The runtime calls a Daemon's methods one at a
// time.
type Daemon interface {
	// Name is the name of the code, for people.
	Name() string

	// Requirements is what the daemon needs of a node.
	Requirements() Requirements

	// Process applies one event and returns its outputs, which are the
	// runtime's to read until the next call. When it returns an error the
	// daemon's state must be as before the call: module daemons are put back
	// by the runtime, native ones see to it themselves. What it does must
	// follow from c, payload and its state alone, for a replay to give the
	// same outputs.
	Process(c *Call, payload []byte) ([][]byte, error)

	// Snapshot returns the state; nil for a daemon that keeps none; an error
	// that wraps ErrNotPortable when the state cannot be captured.
	Snapshot(c *Call) ([]byte, error)

	// Restore puts a fresh daemon into a state that Snapshot returned.
	Restore(c *Call, state []byte) error
}

// Call is what a daemon can know of the call that it answers.
type Call struct {
	Self     identity.EntityID
	Sender   identity.EntityID // zero: anonymous
	Epoch    uint64
	Sequence uint64 // of events applied: 1 for the first
	Time     int64  // when the event was recorded, Unix nanoseconds
	Channel  string
	Kind     EventKind

	// Call is what to Answer or Refuse, of EventAsk; of EventReply it is the number that Ask
	// returned. 0: the event is neither.
	Call   uint64
	Status effect.Status // how the call ended, of EventReply

	// Replay says that the call succeeded once and is made again, of the history: what
	// bounds a call by the clock does not hold.
	Replay bool

	// Rules answer for the effects of the event; nil: the call is of no event, and none
	// are for it. They are the runtime's, and asked by Publish and its like.
	Rules EffectRules

	// Effects are what the event has asked for so far, in order. The runtime reads them
	// once Process has returned nil, and they are its own then. Publish and its like add
	// to them.
	Effects []effect.Effect
}

// Answerer is a Daemon that says whether it answers calls, by Call.Answer and Call.Refuse.
// The answer of one that does not, or is none, are the outputs of the event by which it is
// asked.
type Answerer interface {
	Answers() bool
}

// Querier is a Daemon that answers questions which change nothing.
type Querier interface {
	// Query returns the answer, which is the caller's. The daemon is as before the call
	// then, whatever comes of it: module daemons are put back by the runtime, native ones
	// see to it themselves. c.Sequence is that of the last event applied. Where it takes
	// longer than patience, above 0, it may return ErrPatience, and is asked again at
	// leisure. ErrNoQueries where the code answers none.
	Query(c *Call, payload []byte, patience time.Duration) ([]byte, error)
}

// EffectRules say which effects an event may have. They are asked while it is processed, by
// its daemon alone. The answers are abi.EffectDone, abi.EffectDenied and
// abi.EffectInvalid.
type EffectRules interface {
	// Publish answers for a channel of that name.
	Publish(channel string) int32

	// Send answers for a daemon of that key.
	Send(to [32]byte) int32

	// Cost is what an effect with a payload of so many bytes takes of the room.
	Cost(payload int) int

	// Room returns for what there is room. It counts nothing that the event has asked for.
	Room() abi.EffectRoom
}

// Requirements is what a daemon needs of a node.
type Requirements struct {
	Tags        []string // all of them must be among the node's
	MemoryBytes int64
}

// Initer is a Daemon that takes configuration: Init is called once, at spawn,
// and not when the daemon is restored.
type Initer interface {
	Init(c *Call, config []byte) error
}

// Stateless is a Daemon that can say that it keeps nothing between events. It
// is initialised anew wherever it goes.
type Stateless interface {
	Stateless() bool
}

// Sizer is a Daemon that knows how much memory it holds, in bytes.
type Sizer interface {
	MemoryBytes() int64
}

// Factory makes the daemons of one kind. It is safe for concurrent use.
type Factory interface {
	New(ctx context.Context, env Env) (Daemon, error)
}

// Env is what a factory is told of the daemon it makes. A Daemon that is also
// an io.Closer is closed when the runtime is done with it.
type Env struct {
	Entity identity.EntityID
	Limits Limits
	Log    func(level int, text string) // to the daemon's log; levels as in package abi

	// Rules answer for the effects of a module's code, which asks for them outside of a
	// Call. nil: it has none.
	Rules EffectRules

	// Stop says whether the event that is processed is to be ended: the node ends. It is
	// safe for concurrent use. nil: no event is.
	Stop func() bool

	// Pause is called now and then while an event is processed that takes long, by the
	// goroutine that processes it. nil: nothing is.
	Pause func()
}

// FactoryFunc is a function as a Factory.
type FactoryFunc func(ctx context.Context, env Env) (Daemon, error)

// New calls f.
func (f FactoryFunc) New(ctx context.Context, env Env) (Daemon, error) { return f(ctx, env) }
