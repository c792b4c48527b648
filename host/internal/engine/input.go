package engine

import (
	"wasmhost.example/host/daemon"
)

// Input is an event on its way into a daemon, with what the runtime alone says of it: who
// delivers one cannot.
type Input struct {
	daemon.Event

	senderEpoch uint64 // of a daemon's event: under which it came about
	Once        bool   // it is not tried again, for what reason it may fail
	retry       uint64 // the index of its journal.Failure, where it is tried again; 0: it comes for the first time
}
