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
	for len(index) > 0 {
		n := following(index)
		if err := g.fillRun(index[0], uint32(n), blocks[:n*blockBytes]); err != nil {
			return err
		}
		index, blocks = index[n:], blocks[n*blockBytes:]
	}
	return nil
}

// following returns how many blocks follow each other from the first on.
func following(index []uint32) int {
	n := 1
	for n < len(index) && index[n] == index[n-1]+1 {
		n++
	}
	return n
}

// fillRun writes n blocks from the first on.
func (g *Guest) fillRun(first, n uint32, blocks []byte) error {
	from, end := uint64(first)*blockBytes, (uint64(first)+uint64(n))*blockBytes
	if size := (end + pageSize - 1) &^ (pageSize - 1); size > uint64(len(g.space.bytes())) {
		if size > g.limit() || !g.space.resize(size) {
			return fmt.Errorf("%w: block %d, the memory's limit is %d bytes", ErrState, first+n-1, g.limit())
		}
	}
	if n > 1 {
		g.space.expect(first, n)
	}
	copy(g.space.bytes()[from:end], blocks)
	for k := range n {
		g.undo.at.give(first+k, (*block)(blocks[uint64(k)*blockBytes:]))
		g.changedBlock(first + k)
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
