// Package sdk lets Go programs be wasmhost daemons (contract version 1).
//
// A daemon registers itself in an init function, by Register, and has an empty
// main. It is built with stock Go:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags="-s -w" -o daemon.wasm .
//
// Its memory is its state: it needs no code to be saved, moved and restored. One
// whose state is also to go over to another version of the code registers by
// package hooks instead, one that keeps nothing between events by package
// stateless. A panic reaches whoever sent the event with its text, and the event
// leaves no trace.
package sdk

// ABIVersion is the version of the contract that this package follows.
const ABIVersion = 1

// Daemon applies events, one at a time.
type Daemon interface {
	// Process applies one event. Outputs go out by Emit. When it returns an
	// error the host undoes everything that it changed.
	Process(event Event) error
}

// Initer is a daemon that takes configuration, once at spawn.
type Initer interface {
	Init(config []byte) error
}

// ID is an identity: an ed25519 public key. All zeros is nobody.
type ID [32]byte

// Event is one event. What it knows of its sender is asked of the host when it is
// needed.
type Event struct {
	// Data is the event's bytes, valid until Process returns.
	Data []byte
}

// Failure is an error with a code, other than 0, that the sender gets. Other
// errors have code 1.
type Failure struct {
	Code int32
	Text string
}

func (f *Failure) Error() string { return f.Text }

// Fail returns a *Failure.
func Fail(code int32, text string) error { return &Failure{code, text} }

// Level is how much a line of the log matters.
type Level int32

// Levels of Log.
const (
	Debug Level = iota
	Info
	Warn
	Error
)
