package sandbox

import (
	"bytes"
	"errors"
)

// callKind is a call that changes a guest and can be replayed.
type callKind uint8

const (
	callInit callKind = iota
	callProcess
	callRestore
)

// A failed call is undone by going back to a mark and making again the calls
// since, which succeeded then and are deterministic. A good call pays for that
// with being remembered, and now and then with a new mark.
type undo struct {
	at       mark
	since    []pastCall
	payloads []byte // theirs, one after the other
	fuel     uint64 // theirs, together
}

type pastCall struct {
	kind callKind
	ev   Event
	end  int // of its payload in payloads; it starts where the one before ends
}

// mark is a state to go back to: the image with other blocks.
type mark struct {
	size   uint64
	regs   registers
	blocks overlay // nil until they are needed, where packed has them
	packed *packed
	line   *line // of the views taken of it; nil: none is to be told from another
}

// A new mark is made after so many calls, so many bytes of them, or so much
// fuel: together with what the mark itself must cost, so that marks take a
// tenth of the guest's time at most, and undoing takes about a millisecond.
const (
	markCalls        = 1024
	markBytes        = 1 << 20
	markFuel         = 4 << 20
	markFuelPerBlock = 10_000
)

// begin makes what g is the mark, without looking at its memory: it is the
// image's, or what is packed.
func (u *undo) begin(g *Guest) {
	u.at.size, u.at.blocks, u.at.packed, u.at.line = g.packed.size, nil, g.packed, nil
	u.at.regs.set(&g.regs)
	u.forget()
}

func (u *undo) forget() {
	u.since, u.payloads, u.fuel = u.since[:0], u.payloads[:0], 0
}

// note remembers a call that succeeded. It needs i, bound to g.
func (u *undo) note(g *Guest, i *instance, c callKind, ev *Event, data []byte) error {
	if c == callProcess && g.module.stateless() {
		return nil // what it keeps does not count
	}
	u.payloads = append(u.payloads, data...)
	u.since = append(u.since, pastCall{kind: c, ev: *ev, end: len(u.payloads)})
	u.fuel += g.fuel
	if len(u.since) < markCalls && len(u.payloads) < markBytes && u.fuel < markFuel+markFuelPerBlock*uint64(len(u.at.blocks)) {
		return nil
	}
	return u.mark(g, i)
}

// mark makes what g is now the mark.
func (u *undo) mark(g *Guest, i *instance) error {
	if err := i.spill(); err != nil {
		return err
	}
	return u.look(g)
}

// look makes what g is the mark. It needs g to have a space, and its registers
// to be in g.regs.
func (u *undo) look(g *Guest) error {
	if err := u.expand(); err != nil {
		return err
	}
	mem := g.space.bytes()
	err := g.space.changed(func(first, n uint32) {
		for b := first; b < first+n; b++ {
			u.at.keep(g.image, b, (*block)(mem[uint64(b)*blockBytes:]))
		}
	})
	if err == nil {
		err = g.space.mark()
	}
	if err != nil {
		return err
	}
	u.at.size = uint64(len(mem))
	u.at.regs.set(&g.regs)
	u.forget()
	return nil
}

// expand makes the mark's blocks of its packed form.
func (u *undo) expand() error {
	if u.at.packed == nil {
		return nil
	}
	var err error
	if u.at.blocks, err = u.at.packed.blocks(); err != nil {
		return err
	}
	u.at.packed = nil
	return nil
}

// keep makes the block the mark's.
func (m *mark) keep(img *Image, b uint32, now *block) {
	old, kept := m.blocks[b]
	switch {
	case !kept && bytes.Equal(now[:], img.block(b)[:]), kept && *old == *now:
		return
	case kept && m.line.mine(b):
		*old = *now
		return
	}
	c := *now
	m.blocks[b] = &c
	m.line.note(b)
}

// block returns what the mark has.
func (m *mark) block(img *Image, b uint32) *block {
	if blk, ok := m.blocks[b]; ok {
		return blk
	}
	return img.block(b)
}

// roll goes back to before the call that failed. It needs i, bound to g, and
// returns the instance that is bound to g then.
func (u *undo) roll(g *Guest, i *instance) (*instance, error) {
	if err := u.expand(); err != nil {
		return i, err
	}
	if err := u.restoreMemory(g); err != nil {
		return i, err
	}
	g.regs.set(&u.at.regs)
	err := i.point(g)
	if err == nil {
		err = i.load(&g.regs)
	}
	if errors.Is(err, errTable) || i.mod.IsClosed() {
		g.mu.Lock() // so that nobody packs it, and forgets the calls to be made again
		g.letGo()
		g.module.discard(i)
		i, err = g.attach()
		g.mu.Unlock()
		if err != nil {
			i = new(instance) // to be unlocked by the caller
			i.mu.Lock()
		}
	}
	if err != nil || len(u.since) == 0 {
		return i, err
	}
	return i, u.replay(g, i)
}

// restoreMemory makes g's memory what it was at the mark.
func (u *undo) restoreMemory(g *Guest) error {
	if uint64(len(g.space.bytes())) > u.at.size && !g.space.resize(u.at.size) {
		return errors.New("its memory does not shrink")
	}
	mem := g.space.bytes()
	return g.space.changed(func(first, n uint32) {
		for b := first; b < first+n; {
			run := uint32(0)
			for b+run < first+n && u.at.blocks[b+run] == nil {
				run++
			}
			const dear = 16 // blocks: then a call of the kernel is cheaper than copies
			if run >= dear {
				g.space.discard(b, run)
				b += run
				continue
			}
			now, then := (*block)(mem[uint64(b)*blockBytes:]), u.at.block(g.image, b)
			if *now != *then {
				*now = *then
			}
			b++
		}
	})
}

// replay makes the calls since the mark again. What they end in becomes the
// mark, so that a stream of failures replays nothing.
func (u *undo) replay(g *Guest, i *instance) error {
	g.silent = true
	defer func() { g.silent = false }()
	start := 0
	for k := range u.since {
		c := &u.since[k]
		if err := i.input(c.kind, &c.ev, u.payloads[start:c.end]); err != nil {
			return err
		}
		start = c.end
	}
	return u.mark(g, i)
}
