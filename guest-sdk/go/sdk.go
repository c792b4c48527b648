// Package sdk lets Go programs be wasmhost daemons (contract version 1).
//
// A daemon registers itself in an init function, by hooks.Register where it
// keeps state or by stateless.Register where it keeps none, and has an empty
// main. It is built with stock Go:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags="-s -w" -o daemon.wasm .
//
// A panic reaches whoever sent the event with its text, and the event leaves
// no trace.
package sdk

// Daemon applies events, one at a time.
type Daemon interface {
	// Process applies one event, whose bytes are valid until it returns.
	// Outputs go out by Emit. When it returns an error the host undoes
	// everything that it changed.
	Process(event []byte) error
}

// Initer is a daemon that takes configuration, once at spawn.
type Initer interface {
	Init(config []byte) error
}

// Failure is an error with a code, other than 0, that the sender gets. Other
// errors have code 1.
type Failure struct {
	Code int32
	Text string
}

func (f *Failure) Error() string { return f.Text }

// Levels of Log.
const (
	Debug = 0
	Info  = 1
	Warn  = 2
	Error = 3
)
