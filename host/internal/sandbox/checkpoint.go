package sandbox

import (
	"context"
	"fmt"
)

// Checkpoint is all of an instance that an event can change, but for the
// contents of tables, which are out of reach: memory, mutable globals and the
// guest's input buffer. The zero Checkpoint is ready for use; its buffers are
// reused.
type Checkpoint struct {
	memory   []byte
	globals  []uint64
	buf, cap uint32
}

// Capture fills c with a copy of the instance's state.
func (i *Instance) Capture(c *Checkpoint) {
	c.memory = append(c.memory[:0], i.mem.buf...)
	c.globals = c.globals[:0]
	for _, g := range i.globals {
		c.globals = append(c.globals, g.Get())
	}
	c.buf, c.cap = i.buf, i.cap
}

// Reset puts the instance back to c, which must be of an instance of the same
// module, whatever happened to it since.
func (i *Instance) Reset(c *Checkpoint) error {
	if i.mod == nil || i.mod.IsClosed() || len(i.mem.buf) > len(c.memory) {
		if i.mod != nil {
			if err := i.mod.Close(context.Background()); err != nil {
				return fmt.Errorf("closing a failed instance: %w", err)
			}
		}
		if err := i.build(false); err != nil {
			return fmt.Errorf("making the instance anew: %w", err)
		}
	}
	if have := len(i.mem.buf); have < len(c.memory) {
		if _, ok := i.mod.Memory().Grow(uint32((len(c.memory) - have) / pageSize)); !ok {
			return fmt.Errorf("growing the memory to %d bytes", len(c.memory))
		}
	}
	copy(i.mem.buf, c.memory)
	for k, g := range i.globals {
		g.Set(c.globals[k])
	}
	i.buf, i.cap, i.spoiled = c.buf, c.cap, false
	return nil
}
