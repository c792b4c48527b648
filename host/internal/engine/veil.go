package engine

import (
	"math"

	"wasmhost.example/host/internal/journal"
)

// A guest sees who sent an event only where a key proves it (Event.From). Histories
// of earlier versions were made by guests that saw the unproven Event.Sender of direct
// events, and must give the same when they are replayed. So a daemon's history says from
// where on its guest does not: a journal.Settled of veilIndex, which earlier versions pass
// over, and from then on a mark of veilSender in its horizon, which its snapshots carry.

// veilIndex is the index of no record.
const veilIndex = math.MaxUint64

// veil makes the guest see no sender of direct events from here on. It needs d.mu.
func (d *Daemon) veil() error {
	if d.horizon.Veiled() {
		return nil
	}
	d.horizon.Veil()
	if !d.recording() {
		return nil
	}
	rec, err := journal.Encode(&journal.Settled{Index: veilIndex})
	if err != nil {
		return err
	}

	saved := d.saved // in which this is no event
	d.Turns().Record(rec)
	d.saved = saved
	return nil
}
