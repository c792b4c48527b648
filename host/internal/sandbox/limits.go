package sandbox

import "time"

// Limits bound what one instance may take.
type Limits struct {
	MemoryPages uint32        // linear memory, in pages of 64 KiB
	Fuel        uint64        // one event, in units of abi.Rewrite
	Wall        time.Duration // one event, from when it used up its first slice of fuel
	OutputBytes int           // outputs of one event, together
	OutputCount int           // outputs of one event
	LogBytes    int           // log text of one call; the rest is dropped
}

// DefaultLimits returns the limits for which nobody set others.
func DefaultLimits() Limits {
	return Limits{MemoryPages: 1024, Fuel: 1 << 30, Wall: 10 * time.Second, OutputBytes: 4 << 20, OutputCount: 4096, LogBytes: 64 << 10}
}

// memory is a linear memory that grows up to a limit and remembers when it was
// asked for more. It stays readable after its instance is closed.
type memory struct {
	buf     []byte
	limit   uint64 // bytes
	refused bool
}

// Allocate implements experimental.MemoryAllocator's function: see Options.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		m.refused = true
		return nil
	}
	if size <= uint64(cap(m.buf)) {
		m.buf = m.buf[:size]
		return m.buf
	}
	grown := make([]byte, size, min(size+size/4, max(size, m.limit)))
	copy(grown, m.buf)
	m.buf = grown
	return m.buf
}

// Free leaves the memory to the garbage collector.
func (m *memory) Free() {}
