package daemon

import (
	"time"

	"wasmhost.example/identity"
)

// Quarantined is a numbered event that the daemon failed on. It changed
// nothing; the history keeps it, so that it can be tried again.
type Quarantined struct {
	Index   uint64 // of its record in the daemon's history; names it
	Kind    EventKind
	Sender  identity.EntityID
	From    identity.EntityID // whom the guest sees as the sender, as in an Event
	Number  uint64
	Time    time.Time
	Channel string
	Payload []byte
	Fault   *GuestError
}
