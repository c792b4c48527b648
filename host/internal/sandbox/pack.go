package sandbox

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// packed is a memory at rest: the blocks that differ from the image,
// compressed.
type packed struct {
	size   uint64 // of the memory
	count  int    // of blocks
	sealed []byte // zstd of pairs of index and block; nil where count is 0
}

// coder compresses and decompresses for all guests. Both halves may be used
// concurrently.
var coder = sync.OnceValue(func() (c struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}) {
	var err error
	if c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20)); err != nil {
		panic(err) // the options are constants
	}
	if c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(8<<30)); err != nil {
		panic(err)
	}
	return c
})

func pack(size uint64, index []uint32, of func(uint32) *block) *packed {
	p := &packed{size: size, count: len(index)}
	if len(index) == 0 {
		return p
	}
	plain := make([]byte, 0, len(index)*(blockBytes+4))
	for _, b := range index {
		plain = append(binary.LittleEndian.AppendUint32(plain, b), of(b)[:]...)
	}
	sealed := coder().enc.EncodeAll(plain, nil)
	p.sealed = append(make([]byte, 0, len(sealed)), sealed...)
	return p
}

// blocks unpacks. The blocks are the caller's.
func (p *packed) blocks() (overlay, error) {
	o := make(overlay, p.count)
	if p.count == 0 {
		return o, nil
	}
	const each = blockBytes + 4
	plain, err := coder().dec.DecodeAll(p.sealed, make([]byte, 0, p.count*each))
	if err != nil || len(plain) != p.count*each {
		return nil, fmt.Errorf("unpacking %d blocks of a guest: %d bytes, %w", p.count, len(plain), err)
	}
	for ; len(plain) > 0; plain = plain[each:] {
		o[binary.LittleEndian.Uint32(plain)] = (*block)(plain[4:each:each])
	}
	return o, nil
}

// unpack gives g a space again. It needs g.mu.
func (g *Guest) unpack() error {
	if g.space != nil {
		return nil
	}
	blocks, err := g.packed.blocks()
	if err != nil {
		return err
	}
	space, err := g.module.engine.newSpace(g)
	if err != nil {
		return err
	}
	if !space.resize(g.packed.size) {
		space.free()
		g.module.engine.mapped.remove(g)
		return fmt.Errorf("no room for a memory of %d bytes", g.packed.size)
	}
	mem := space.bytes()
	for b, blk := range blocks {
		copy(mem[uint64(b)*blockBytes:], blk[:])
	}
	g.space, g.packed = space, nil
	return nil
}

// pack lets go of g's space if nobody uses it. What g is becomes the mark.
func (g *Guest) pack() bool {
	if g.frozen.Load() || !g.mu.TryLock() {
		return false
	}
	defer g.mu.Unlock()
	if g.space == nil {
		return false
	}
	if i := g.at.Load(); i != nil {
		if !i.mu.TryLock() {
			return false
		}
		defer i.unlock()
		if i.bound != g || i.spill() != nil {
			return false
		}
	}
	if len(g.trackers) > 0 && g.catchUp() != nil {
		return false
	}
	index, err := g.differing()
	if err != nil {
		return false
	}
	g.packed = pack(uint64(len(g.space.bytes())), index, g.blockOf())
	g.letGo()
	g.space.free()
	g.space, g.out, g.ends, g.list = nil, nil, nil, nil
	g.undo = undo{}
	g.undo.begin(g)
	return true
}

// Pack puts the guest to rest: it takes little memory until its next call.
func (g *Guest) Pack() {
	if g.pack() {
		g.module.engine.mapped.remove(g)
	}
}

// differing returns which blocks differ from the image, in order. It needs
// g.mu, a space, and that no call runs.
func (g *Guest) differing() ([]uint32, error) {
	if err := g.usable(); err != nil {
		return nil, err
	}
	if err := g.undo.expand(); err != nil {
		return nil, err
	}
	var out []uint32
	blocks := uint32(len(g.space.bytes()) / blockBytes)
	of := g.blockOf()
	look := func(b uint32) {
		if b < blocks && *of(b) != *g.image.block(b) {
			out = append(out, b)
		}
	}
	for b := range g.undo.at.blocks {
		look(b)
	}
	err := g.space.changed(func(first, n uint32) {
		for b := first; b < first+n; b++ {
			if g.undo.at.blocks[b] == nil {
				look(b)
			}
		}
	})
	slices.Sort(out)
	return out, err
}

// blockOf returns what finds a block of the memory.
func (g *Guest) blockOf() func(uint32) *block {
	mem := g.space.bytes()
	return func(b uint32) *block { return (*block)(mem[uint64(b)*blockBytes:]) }
}

// contents returns the blocks that differ from the image, in order, and what
// finds them: in the memory, or unpacked. It needs what differing does, but a
// space.
func (g *Guest) contents() (index []uint32, of func(uint32) *block, size uint64, err error) {
	if g.space != nil {
		index, err = g.differing()
		return index, g.blockOf(), uint64(len(g.space.bytes())), err
	}
	if err := g.usable(); err != nil {
		return nil, nil, 0, err
	}
	blocks, err := g.packed.blocks()
	return blocks.order(), func(b uint32) *block { return blocks[b] }, g.packed.size, err
}
