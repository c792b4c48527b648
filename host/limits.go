package host

import (
	"fmt"
	"time"
)

// Limits bound what one daemon may take. A zero field means its default.
type Limits struct {
	MemoryBytes  int64         // linear memory
	Fuel         int64         // one event, in units of about one instruction
	Wall         time.Duration // one event; a guard beside Fuel, which is deterministic
	OutputBytes  int           // outputs of one event, together
	OutputCount  int           // outputs of one event
	LogBytes     int           // log text of one event; the rest is dropped, and counted
	EventBytes   int           // payload of one event
	Mailbox      int           // events that may wait for one daemon
	Senders      int           // senders whose numbers one daemon remembers
	StateBytes   int64         // a snapshot's state
	ModuleBytes  int64         // an uploaded module
	TailBytes    int64         // records held back while a daemon moves
	SenderMemory time.Duration // how long a silent sender is remembered once Senders is reached
}

// DefaultLimits are the limits of a daemon for which nobody set others.
var DefaultLimits = Limits{
	MemoryBytes:  64 << 20,
	Fuel:         1 << 30,
	Wall:         10 * time.Second,
	OutputBytes:  4 << 20,
	OutputCount:  4096,
	LogBytes:     64 << 10,
	EventBytes:   1 << 20,
	Mailbox:      1024,
	Senders:      65536,
	StateBytes:   256 << 20,
	ModuleBytes:  64 << 20,
	TailBytes:    64 << 20,
	SenderMemory: 24 * time.Hour,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	fill(&l.MemoryBytes, d.MemoryBytes)
	fill(&l.Fuel, d.Fuel)
	fill(&l.Wall, d.Wall)
	fill(&l.OutputBytes, d.OutputBytes)
	fill(&l.OutputCount, d.OutputCount)
	fill(&l.LogBytes, d.LogBytes)
	fill(&l.EventBytes, d.EventBytes)
	fill(&l.Mailbox, d.Mailbox)
	fill(&l.Senders, d.Senders)
	fill(&l.StateBytes, d.StateBytes)
	fill(&l.ModuleBytes, d.ModuleBytes)
	fill(&l.TailBytes, d.TailBytes)
	fill(&l.SenderMemory, d.SenderMemory)
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate names the first field that is out of bounds.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name     string
		got, max int64
	}{
		{"MemoryBytes", l.MemoryBytes, 4 << 30},
		{"Fuel", l.Fuel, 1 << 50},
		{"Wall", int64(l.Wall), int64(time.Hour)},
		{"OutputBytes", int64(l.OutputBytes), 16 << 20},
		{"OutputCount", int64(l.OutputCount), 1 << 20},
		{"LogBytes", int64(l.LogBytes), 64 << 20},
		{"EventBytes", int64(l.EventBytes), 16 << 20},
		{"Mailbox", int64(l.Mailbox), 1 << 20},
		{"Senders", int64(l.Senders), 1 << 24},
		{"StateBytes", l.StateBytes, 4 << 30},
		{"ModuleBytes", l.ModuleBytes, 1 << 30},
		{"TailBytes", l.TailBytes, 4 << 30},
		{"SenderMemory", int64(l.SenderMemory), int64(1 << 62)},
	} {
		if f.got < 0 || f.got > f.max {
			return fmt.Errorf("limit %s is %d; it must be between 0 (the default) and %d", f.name, f.got, f.max)
		}
	}
	return nil
}
