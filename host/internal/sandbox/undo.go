package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
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
	at    mark
	calls int    // since
	since []byte // the calls: of each the time, the payload's length and the payload
	runs  []run  // of the calls
	last  *run   // the last of runs
	fuel  int64  // that calls can take before the next mark

	stateless bool // what events leave behind does not count
}

// callHead is how many bytes are before a payload in undo.since: 8 of the
// time, 4 of the payload's length, little-endian.
const callHead = 12

// run is of calls one after the other that differ in payload and time alone,
// and in sequence by one from call to call.
type run struct {
	kind callKind
	ev   Event // the first call's
	from int   // which of the calls is the first
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
	u.stateless = g.module.stateless()
	u.forget()
}

func (u *undo) forget() {
	u.calls, u.since, u.runs, u.last = 0, u.since[:0], u.runs[:0], nil
	u.fuel = markFuel + markFuelPerBlock*int64(len(u.at.blocks))
}

// note remembers a call that succeeded. It needs i, bound to g. It is on the
// path of every event: what is rare is in functions of its own.
func (u *undo) note(g *Guest, i *instance, c callKind, ev *Event, data []byte) error {
	if u.stateless && c == callProcess {
		return nil // what it keeps does not count
	}
	if r := u.last; r == nil || ev.Sequence-r.ev.Sequence != uint64(u.calls-r.from) || c != r.kind || ev.Epoch != r.ev.Epoch || ev.Kind != r.ev.Kind ||
		ev.Call != 0 || // each call is another
		!same(&ev.Sender, &r.ev.Sender) || len(ev.Channel)+len(r.ev.Channel) != 0 && ev.Channel != r.ev.Channel {
		u.begins(c, ev)
	}
	start, end := len(u.since), len(u.since)+callHead+len(data)
	if end > cap(u.since) {
		u.grow(end)
	}
	u.since = u.since[:end]
	past := u.since[start:end]
	binary.LittleEndian.PutUint64(past, uint64(ev.Time))
	binary.LittleEndian.PutUint32(past[8:], uint32(len(data)))
	copy(past[callHead:], data)
	u.calls++
	u.fuel -= int64(g.fuel)
	if u.calls < markCalls && end < markBytes && u.fuel > 0 {
		return nil
	}
	return u.mark(g, i)
}

//go:noinline
func (u *undo) begins(c callKind, ev *Event) {
	u.runs = append(u.runs, run{kind: c, ev: *ev, from: u.calls})
	u.last = &u.runs[len(u.runs)-1]
}

//go:noinline
func (u *undo) grow(size int) { u.since = slices.Grow(u.since, size-len(u.since)) }

// same is a == b, for which the compiler makes a call at this size.
func same(a, b *[32]byte) bool {
	return binary.LittleEndian.Uint64(a[:]) == binary.LittleEndian.Uint64(b[:]) &&
		binary.LittleEndian.Uint64(a[8:]) == binary.LittleEndian.Uint64(b[8:]) &&
		binary.LittleEndian.Uint64(a[16:]) == binary.LittleEndian.Uint64(b[16:]) &&
		binary.LittleEndian.Uint64(a[24:]) == binary.LittleEndian.Uint64(b[24:])
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
	look := func(first, n uint32) {
		for b := first; b < first+n; b++ {
			if u.at.keep(g.image, b, (*block)(mem[uint64(b)*blockBytes:])) {
				g.changedBlock(b)
			}
		}
	}
	if all := uint32(len(mem) / blockBytes); all <= compareBlocks {
		look(0, all)
		u.stands(g)
		return nil
	}
	return u.stand(g, look)
}

// filled makes what g is the mark, which has been given all that was written since
// it was made.
func (u *undo) filled(g *Guest) error { return u.stand(g, func(uint32, uint32) {}) }

// stand makes the mark stand at what g is. It has the blocks after changed was
// called for all that may differ.
func (u *undo) stand(g *Guest, changed func(first, n uint32)) error {
	if err := g.space.mark(changed); err != nil {
		return err
	}
	u.stands(g)
	return nil
}

// stands is the end of stand.
func (u *undo) stands(g *Guest) {
	u.at.size = uint64(len(g.space.bytes()))
	u.at.regs.set(&g.regs)
	u.forget()
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

// keep makes the block the mark's, and reports whether it was another.
func (m *mark) keep(img *Image, b uint32, now *block) bool {
	old, kept := m.blocks[b]
	switch {
	case !kept && bytes.Equal(now[:], img.block(b)[:]), kept && *old == *now:
		return false
	case kept && m.line.mine(b):
		*old = *now
		return true
	}
	c := *now
	m.blocks[b] = &c
	m.line.note(b)
	return true
}

// give makes the block the mark's, which keeps now.
func (m *mark) give(b uint32, now *block) {
	m.blocks[b] = now
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
		err = i.load(&g.regs, false)
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
	if err != nil || u.calls == 0 {
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
	if all := uint32(len(mem) / blockBytes); all <= compareBlocks {
		u.restoreCompared(g, mem, all)
		return nil
	}
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

// compareBlocks is up to how many blocks comparing a whole memory beats asking the kernel
// which of its pages were written.
const compareBlocks = 16

// restoreCompared is restoreMemory of a small memory, which has n blocks.
func (u *undo) restoreCompared(g *Guest, mem []byte, n uint32) {
	for b := range n {
		now, then := (*block)(mem[uint64(b)*blockBytes:]), u.at.block(g.image, b)
		if *now != *then {
			*now = *then
		}
	}
}

// replay makes the calls since the mark again. What they end in becomes the
// mark, so that a stream of failures replays nothing.
func (u *undo) replay(g *Guest, i *instance) error {
	g.silent = true
	defer func() { g.silent = false }()
	past, runs := u.since, u.runs
	var ev Event
	var kind callKind
	for k := range u.calls {
		if len(runs) > 0 && runs[0].from == k {
			ev, kind, runs = runs[0].ev, runs[0].kind, runs[1:]
		} else {
			ev.Sequence++
		}
		ev.Time = int64(binary.LittleEndian.Uint64(past))
		end := callHead + int(binary.LittleEndian.Uint32(past[8:]))
		if err := i.input(kind, &ev, past[callHead:end]); err != nil {
			return err
		}
		past = past[end:]
	}
	return u.mark(g, i)
}
