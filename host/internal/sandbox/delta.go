package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrUntracked says that a tracker's guest has become another since: it was
// loaded or closed.
var ErrUntracked = errors.New("the guest's changes are not tracked")

// Tracker knows which blocks of a guest's memory changed since it began, or
// was last asked. A guest can have several, for different readers. Its methods
// are calls of the guest's: they must not be called while another is running.
type Tracker struct {
	guest  *Guest // nil: it tracks no more
	blocks map[uint32]struct{}
}

// Track returns what tracks the guest's changes from now on. It costs a few
// bytes for each block that changes, until Stop.
func (g *Guest) Track() (*Tracker, error) {
	release, err := g.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := g.catchUp(); err != nil {
		return nil, err
	}
	t := &Tracker{guest: g, blocks: make(map[uint32]struct{})}
	g.trackers = append(g.trackers, t)
	return t, nil
}

// Save returns what the guest is, with those blocks alone that changed since
// Track or the last Save: Merge makes a whole state of it. The next Save tells
// what changes from here on. ErrUntracked where the guest was loaded or closed.
func (t *Tracker) Save() (*State, error) {
	g := t.guest
	if g == nil {
		return nil, ErrUntracked
	}
	release, err := g.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := g.catchUp(); err != nil {
		return nil, err
	}
	var of func(uint32) *block
	var size uint64
	if g.space != nil {
		of, size = g.blockOf(), uint64(len(g.space.bytes()))
	} else {
		blocks, err := g.packed.blocks()
		if err != nil {
			return nil, err
		}
		m := mark{blocks: blocks}
		of, size = func(b uint32) *block { return m.block(g.image, b) }, g.packed.size
	}
	index := slices.Sorted(maps.Keys(t.blocks))
	regs := g.regs.clone()
	s := &State{Image: g.module.Root(), Size: size, Globals: regs.globals, Tables: regs.tables, Buffer: regs.buf, Room: regs.cap,
		Index: index, Blocks: make([]byte, 0, len(index)*blockBytes)}
	for _, b := range index {
		s.Blocks = append(s.Blocks, of(b)[:]...)
	}
	clear(t.blocks)
	return s, nil
}

// Stop ends the tracking. Save is ErrUntracked from then on.
func (t *Tracker) Stop() {
	g := t.guest
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trackers = slices.DeleteFunc(g.trackers, func(other *Tracker) bool { return other == t })
	t.guest, t.blocks = nil, nil
}

// untrack ends all tracking: the guest becomes another. It needs what hold
// gives.
func (g *Guest) untrack() {
	for _, t := range g.trackers {
		t.guest, t.blocks = nil, nil
	}
	g.trackers = nil
}

// catchUp makes what the guest is the mark to go back to, so that trackers
// know of all that changed until now. It needs what hold gives.
func (g *Guest) catchUp() error {
	if err := g.usable(); err != nil {
		return err
	}
	if g.space == nil {
		return nil // it was the mark when it was packed
	}
	if err := g.undo.look(g); err != nil {
		g.broken = true // the mark is neither what it was nor what it should be
		g.letGo()
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return nil
}

// changedBlock tells the trackers that a block is not what it was at the last
// mark.
func (g *Guest) changedBlock(b uint32) {
	for _, t := range g.trackers {
		t.blocks[b] = struct{}{}
	}
}

// Merge returns base with the changes that Tracker.Save told of since, in
// order. It shares no memory with them. ErrState where they are not of one
// image.
func Merge(base *State, changes ...*State) (*State, error) {
	last := base
	blocks := make(map[uint32][]byte, len(base.Index))
	for k, s := range append([]*State{base}, changes...) {
		if s.Image != base.Image {
			return nil, fmt.Errorf("%w: changes of image %x, of a state of image %x", ErrState, s.Image, base.Image)
		}
		if len(s.Blocks) != len(s.Index)*blockBytes {
			return nil, fmt.Errorf("%w: %d bytes for %d blocks, in part %d", ErrState, len(s.Blocks), len(s.Index), k)
		}
		for n, b := range s.Index {
			blocks[b] = s.Blocks[n*blockBytes:][:blockBytes]
		}
		last = s
	}
	out := &State{Image: base.Image, Size: last.Size, Globals: slices.Clone(last.Globals), Buffer: last.Buffer, Room: last.Room}
	for _, t := range last.Tables {
		out.Tables = append(out.Tables, slices.Clone(t))
	}
	out.Index = slices.Sorted(maps.Keys(blocks))
	out.Blocks = make([]byte, 0, len(blocks)*blockBytes)
	for _, b := range out.Index {
		out.Blocks = append(out.Blocks, blocks[b]...)
	}
	return out, nil
}
