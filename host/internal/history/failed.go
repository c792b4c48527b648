package history

import (
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Failed is an event that the daemon failed on, as it is tried again.
type Failed struct {
	daemon.Quarantined
	Epoch uint64 // of the sender, where that is a daemon
}

// failedOf is the event of a failure, whose record has the index.
func failedOf(index uint64, f *journal.Failure) Failed {
	q := Failed{daemon.Quarantined{Index: index, Kind: f.Event, Sender: f.Sender, From: f.From, Number: f.Number, Time: time.Unix(0, f.Time),
		Channel: f.Channel, Payload: f.Payload, Fault: f.Fault()}, f.SenderEpoch}
	switch {
	case q.Kind >= daemon.EventTimer:
		q.From = q.Sender
	case q.Kind == daemon.EventDirect && q.Channel != "": // of a history from before failures said so
		q.Kind = daemon.EventChannel
	}
	return q
}

// FailedEvents returns the events on which a daemon failed, and that were neither tried again
// nor given up, latest first. It reads so much of the history as repeats are looked for in.
func FailedEvents(st *store.Store, id identity.EntityID) ([]Failed, error) {
	var out []Failed
	settled := make(map[uint64]bool)
	depth := 0
	err := st.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if depth++; depth > Depth {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Settled:
			settled[rec.Index] = true
		case *journal.Event:
			settled[rec.Retry] = true // 0 is the index of no failure
		case *journal.Failure:
			if !settled[index] {
				out = append(out, failedOf(index, rec))
			}
		}
		return nil
	})
	return out, err
}
