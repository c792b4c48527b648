package sandbox

import "slices"

// Frozen is what a guest was at one moment, while the guest goes on: the blocks
// are the mark's, which later marks leave as they are and put others in their
// place. It costs what the guest writes meanwhile. It is immutable.
type Frozen struct {
	// State has the registers and the size; its Index says which blocks are in
	// the view, and its Blocks are nil: Block has them.
	State

	blocks []*block
	at     *line
	gen    uint32
}

// line is a run of freezes of one mark: views of one line can be compared.
type line struct {
	gen     uint32            // of the blocks that are written from now on
	written map[uint32]uint32 // in which generation a block was written, of those written since the line began
}

// mine reports whether no view has the block as it is.
func (l *line) mine(b uint32) bool {
	if l == nil {
		return true
	}
	gen, ok := l.written[b]
	return ok && gen == l.gen
}

func (l *line) note(b uint32) {
	if l != nil {
		l.written[b] = l.gen
	}
}

// Freeze returns what the guest is. With since it returns only the blocks that
// were written since that view was taken, or all of them where that is not
// known any more. From the first Freeze to Thaw the guest is not packed.
func (g *Guest) Freeze(since *Frozen) (*Frozen, error) {
	release, err := g.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := g.usable(); err != nil {
		return nil, err
	}
	u := &g.undo
	if g.space != nil {
		err = u.look(g)
	} else {
		err = u.expand()
	}
	if err != nil {
		return nil, err
	}
	if u.at.line == nil {
		u.at.line = &line{written: make(map[uint32]uint32)}
	}
	l := u.at.line
	regs := u.at.regs.clone()
	f := &Frozen{at: l, gen: l.gen, State: State{Image: g.module.Root(), Size: u.at.size,
		Globals: regs.globals, Tables: regs.tables, Buffer: regs.buf, Room: regs.cap}}
	if since != nil && since.at == l {
		for b, gen := range l.written {
			if gen > since.gen {
				f.Index = append(f.Index, b)
			}
		}
	} else {
		f.Index = make([]uint32, 0, len(u.at.blocks))
		for b := range u.at.blocks {
			f.Index = append(f.Index, b)
		}
	}
	slices.Sort(f.Index)
	f.blocks = make([]*block, len(f.Index))
	for k, b := range f.Index {
		f.blocks[k] = u.at.blocks[b]
	}
	l.gen++
	g.frozen.Store(true)
	return f, nil
}

// Thaw says that no more views of the guest will be compared. Those that were
// taken stay as they are.
func (g *Guest) Thaw() {
	g.frozen.Store(false)
	release, err := g.hold()
	if err != nil {
		return // it is of no more use
	}
	if g.undo.at.line != nil { // a line of its own, so that no block of a view is written to
		g.undo.at.line = &line{written: make(map[uint32]uint32)}
	}
	release()
}

// Block returns the k-th block of the view, BlockBytes of it. Nobody writes to
// it.
func (f *Frozen) Block(k int) []byte { return f.blocks[k][:] }

// Len returns how many blocks are in the view.
func (f *Frozen) Len() int { return len(f.Index) }

// Shared is what guests of one module can be made of together: they have one
// copy of it, until each is called. It is immutable.
type Shared struct {
	state  State // without blocks
	packed *packed
}

// Share makes the view what guests can be made of. The view must be of all
// blocks.
func (f *Frozen) Share() *Shared {
	s := &Shared{state: f.State}
	s.state.Index = nil
	s.packed = pack(f.Size, f.Index, func(b uint32) *block {
		k, _ := slices.BinarySearch(f.Index, b)
		return f.blocks[k]
	})
	return s
}
