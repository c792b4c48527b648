package sandbox

import "time"

// Limits bound what one instance may take.
type Limits struct {
	MemoryPages uint32        // linear memory, in pages of 64 KiB
	Fuel        uint64        // one event, in units of abi.Rewrite
	Wall        time.Duration // one event, from when it used up its first slice of fuel
	OutputBytes int           // outputs of one event, together
	OutputCount int           // outputs of one event
	LogBytes    int           // log text of one call; the rest is dropped, and a call that logs 16 times as much fails
}

// DefaultLimits returns the limits for which nobody set others.
func DefaultLimits() Limits {
	return Limits{MemoryPages: 1024, Fuel: 1 << 30, Wall: 10 * time.Second, OutputBytes: 4 << 20, OutputCount: 4096, LogBytes: 64 << 10}
}
