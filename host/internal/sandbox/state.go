package sandbox

import (
	"errors"
	"fmt"
)

// ErrState says that a State is not one of the guest's module.
var ErrState = errors.New("not a state of this module")

// State is all that a guest is, apart from its module's image. It is portable:
// another host with the same module makes the same guest of it.
type State struct {
	Image   [32]byte // Root of the module
	Size    uint64   // of the memory, bytes
	Globals []uint64
	Tables  [][]uint32 // of modules that change tables: a function's index plus 1, 0 for null
	Buffer  uint32     // the input buffer, 0 where there is none yet
	Room    uint32     // its size
	Index   []uint32   // of the blocks that differ from the image, rising
	Blocks  []byte     // those blocks, BlockBytes each
}

// BlockBytes is the unit in which states differ from images.
const BlockBytes = blockBytes

// Save returns a copy of what the guest is.
func (g *Guest) Save() (*State, error) {
	var all *State
	err := g.SaveTo(func(s *State) error {
		all = s
		all.Blocks = make([]byte, 0, len(s.Index)*blockBytes)
		return nil
	}, 1<<10, func(_ []uint32, blocks []byte) error {
		all.Blocks = append(all.Blocks, blocks...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SaveTo says what the guest is piece by piece: first all but the blocks, then
// the blocks of begin's Index, at most so many at a time. They are valid during
// the call. An error of either function is returned. Both must not call the
// guest, which is held up meanwhile.
func (g *Guest) SaveTo(begin func(*State) error, most int, blocks func(index []uint32, blocks []byte) error) error {
	release, err := g.hold()
	if err != nil {
		return err
	}
	defer release()
	index, of, size, err := g.contents()
	if err != nil {
		return err
	}
	regs := g.regs.clone()
	if err := begin(&State{Image: g.module.Root(), Size: size, Globals: regs.globals, Tables: regs.tables, Buffer: regs.buf, Room: regs.cap, Index: index}); err != nil {
		return err
	}
	room := make([]byte, 0, min(most, len(index))*blockBytes)
	for len(index) > 0 {
		some := index[:min(most, len(index))]
		room = room[:0]
		for _, b := range some {
			room = append(room, of(b)[:]...)
		}
		if err := blocks(some, room); err != nil {
			return err
		}
		index = index[len(some):]
	}
	return nil
}

// Load makes the guest what s says. It keeps nothing of s. Errors wrap
// ErrState, or are of a limit; the guest is as before then.
func (g *Guest) Load(s *State) error {
	blocks, err := g.check(s)
	if err != nil {
		return err
	}
	return g.adopt(s, func() *packed { return pack(s.Size, s.Index, func(b uint32) *block { return blocks[b] }) })
}

// LoadShared makes the guest what s says, as Load does. Nothing of it is copied
// before the guest is called.
func (g *Guest) LoadShared(s *Shared) error {
	if _, err := g.check(&s.state); err != nil {
		return err
	}
	return g.adopt(&s.state, func() *packed { return s.packed })
}

// adopt makes the guest what s, which was checked, and blocks say.
func (g *Guest) adopt(s *State, blocks func() *packed) error {
	release, err := g.hold()
	if err != nil {
		return err
	}
	defer release()
	if g.closed {
		return g.usable()
	}
	g.letGo()
	if g.space != nil {
		g.space.free()
		g.module.engine.mapped.remove(g)
		g.space = nil
	}
	g.packed = blocks()
	g.regs.set(s.registers())
	g.undo = undo{}
	g.undo.begin(g)
	g.untrack()
	g.broken = false
	return nil
}

// check returns s's blocks, without copying them.
func (g *Guest) check(s *State) (overlay, error) {
	bad := func(format string, args ...any) (overlay, error) {
		return nil, fmt.Errorf("%w: %s", ErrState, fmt.Sprintf(format, args...))
	}
	img := g.image
	switch {
	case s.Image != g.module.Root():
		return bad("it differs from image %x, the module's is %x", s.Image, g.module.Root())
	case s.Size%pageSize != 0 || s.Size < img.size:
		return bad("a memory of %d bytes", s.Size)
	case s.Size > g.limit():
		return bad("a memory of %d bytes, the limit is %d", s.Size, g.limit())
	case len(s.Globals) != len(img.regs.globals) || len(s.Tables) != len(img.regs.tables):
		return bad("%d globals and %d tables, the module has %d and %d", len(s.Globals), len(s.Tables), len(img.regs.globals), len(img.regs.tables))
	case (s.Buffer == 0) != (s.Room == 0) || uint64(s.Buffer)+uint64(s.Room) > s.Size:
		return bad("an input buffer of %d bytes at %#x, in a memory of %d", s.Room, s.Buffer, s.Size)
	}
	for k, v := range s.Globals {
		if g.module.narrow[k] && v>>32 != 0 {
			return bad("global %d is %#x, and has 32 bits", k, v)
		}
	}
	for k, t := range s.Tables {
		if err := g.module.checkTable(k, t); err != nil {
			return bad("table %d: %v", k, err)
		}
	}
	if len(s.Blocks) != len(s.Index)*blockBytes {
		return bad("%d bytes for %d blocks", len(s.Blocks), len(s.Index))
	}
	blocks := make(overlay, len(s.Index))
	for k, b := range s.Index {
		if k > 0 && b <= s.Index[k-1] || (uint64(b)+1)*blockBytes > s.Size {
			return bad("block %d, in a memory of %d bytes", b, s.Size)
		}
		blocks[b] = (*block)(s.Blocks[k*blockBytes:])
	}
	return blocks, nil
}

// checkTable says what is wrong with a table's elements.
func (m *Module) checkTable(k int, elements []uint32) error {
	if k == len(m.rewritten.Tables) {
		_, err := readVariables(elements)
		return err
	}
	t, most := &m.rewritten.Tables[k], 0 // functions
	if t.Get != "" {
		most = m.rewritten.Functions
	}
	if uint64(len(elements)) < uint64(t.Min) || uint64(len(elements)) > uint64(t.Max) {
		return fmt.Errorf("it has %d elements, not %d to %d", len(elements), t.Min, t.Max)
	}
	for _, f := range elements {
		if uint64(f) > uint64(most) {
			return fmt.Errorf("function %d of %d", f-1, most)
		}
	}
	return nil
}

// Root returns the hash of what the guest is. It costs what the guest differs
// from the image.
func (g *Guest) Root() ([32]byte, error) {
	release, err := g.hold()
	if err != nil {
		return [32]byte{}, err
	}
	defer release()
	index, of, size, err := g.contents()
	if err != nil {
		return [32]byte{}, err
	}
	blocks := make(overlay, len(index))
	for _, b := range index {
		blocks[b] = of(b)
	}
	return g.image.tree.root(&g.regs, size, blocks), nil
}

// StateRoot returns the hash that the guest has which s is loaded into; an error
// where s is none of the module's.
func (m *Module) StateRoot(s *State) ([32]byte, error) {
	g := &Guest{module: m, image: m.image, options: Options{Limits: Limits{MemoryPages: maxPages}}}
	blocks, err := g.check(s)
	if err != nil {
		return [32]byte{}, err
	}
	return m.image.tree.root(&registers{globals: s.Globals, tables: s.Tables, buf: s.Buffer, cap: s.Room}, s.Size, blocks), nil
}
