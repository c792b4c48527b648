package sandbox

import "fmt"

// Fill writes blocks, BlockBytes each, into a guest that is being made of
// another's state, and has its memory grow where they ask for it. The blocks are
// the guest's then. Until Become it is not to be called. Errors wrap ErrState, or
// are of a limit; the guest is of no use then.
func (g *Guest) Fill(index []uint32, blocks []byte) error {
	if len(blocks) != len(index)*blockBytes {
		return fmt.Errorf("%w: %d bytes for %d blocks", ErrState, len(blocks), len(index))
	}
	release, err := g.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := g.usable(); err != nil {
		return err
	}
	if err := g.unpack(); err != nil {
		return err
	}
	g.letGo()
	if !g.filling {
		if err := g.undo.look(g); err != nil {
			return err
		}
		g.filling = true
	}
	for k, b := range index {
		end := (uint64(b) + 1) * blockBytes
		if size := (end + pageSize - 1) &^ (pageSize - 1); size > uint64(len(g.space.bytes())) {
			if size > g.limit() || !g.space.resize(size) {
				return fmt.Errorf("%w: block %d, the memory's limit is %d bytes", ErrState, b, g.limit())
			}
		}
		now := blocks[k*blockBytes:][:blockBytes:blockBytes]
		copy(g.space.bytes()[uint64(b)*blockBytes:end], now)
		g.undo.at.give(b, (*block)(now))
		g.changedBlock(b)
	}
	return nil
}

// Become gives a filled guest the size and registers of s, whose Index and
// Blocks are empty: the guest is what s was taken of. It keeps nothing of s.
// Errors wrap ErrState.
func (g *Guest) Become(s *State) error {
	if _, err := g.check(s); err != nil {
		return err
	}
	release, err := g.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := g.usable(); err != nil {
		return err
	}
	if err := g.unpack(); err != nil {
		return err
	}
	g.letGo()
	if uint64(len(g.space.bytes())) != s.Size && !g.space.resize(s.Size) {
		return fmt.Errorf("%w: no room for a memory of %d bytes", ErrState, s.Size)
	}
	g.regs.set(s.registers())
	if !g.filling {
		return g.undo.look(g)
	}
	g.filling = false
	return g.undo.filled(g)
}
