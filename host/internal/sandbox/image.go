package sandbox

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// Image is what the guests of a module begin as: memory and registers after
// its data was written, its start function and _initialize have run. The clock
// stands still meanwhile and randomness follows from the module's digest, so
// that the image is the same everywhere.
type Image struct {
	size  uint64 // of the memory
	bytes []byte // the memory without the zeros at its end
	regs  registers
	tree  tree // of bytes
	root  [32]byte

	fd    int          // of the memory file, where there is one; -1: none
	unmap func() error // of bytes, where they are the file's
}

// registers are all of a guest's state that is not in its memory.
type registers struct {
	globals  []uint64
	tables   [][]uint32 // elements: a function's index plus 1, or 0 for null; of a plug-in its variables after them
	buf, cap uint32     // the input buffer
}

func (r *registers) clone() registers {
	c := *r
	c.globals = append([]uint64(nil), r.globals...)
	c.tables = nil
	for _, t := range r.tables {
		c.tables = append(c.tables, append([]uint32(nil), t...))
	}
	return c
}

// set copies from o, into the memory that r has.
func (r *registers) set(o *registers) {
	tables := r.tables[:0]
	r.globals = append(r.globals[:0], o.globals...)
	for _, t := range o.tables {
		tables = append(tables, append([]uint32(nil), t...))
	}
	r.tables, r.buf, r.cap = tables, o.buf, o.cap
}

// block returns a block of the image, which is not to be written.
func (img *Image) block(b uint32) *block {
	if off := uint64(b) * blockBytes; off+blockBytes <= uint64(len(img.bytes)) {
		return (*block)(img.bytes[off:])
	}
	return &zeroBlock
}

// imageTime is the clock while an image is made. 2024-01-01T00:00:00Z.
const imageTime = 1704067200_000000000

// buildImage runs what a module does before its first call.
func (m *Module) buildImage(data []abi.Segment, pages uint32, again bool) error {
	limits := DefaultLimits()
	limits.MemoryPages = pages
	blank := &Image{size: uint64(m.report.Memory.Min) * pageSize, fd: -1}
	g := &Guest{module: m, options: Options{Limits: limits, Log: func(int, string) {}}, image: blank}
	g.space = newHeapSpace(blank, g.limit())
	for _, d := range data {
		if uint64(d.Offset)+uint64(len(d.Bytes)) > blank.size {
			return fmt.Errorf("a data segment of %d bytes at %#x does not fit into the memory of %d", len(d.Bytes), d.Offset, blank.size)
		}
		copy(g.space.bytes()[d.Offset:], d.Bytes)
	}
	i, err := m.instance(g)
	if err != nil {
		return err
	}
	defer func() {
		i.bound = nil
		i.unlock()
	}()
	i.bound = g
	g.at.Store(i)
	for _, global := range i.globals {
		m.narrow = append(m.narrow, global.Type() == api.ValueTypeI32 || global.Type() == api.ValueTypeF32)
	}
	ev := &Event{Time: imageTime, Replay: again}
	for _, name := range []string{abi.StartFunction, abi.ExportInitialize} {
		f := i.mod.ExportedFunction(name)
		if f == nil {
			continue
		}
		i.begin("instantiation", ev)
		i.call.random.Seed(m.digest)
		i.call.seeded = true
		if err := i.run(f, nil); err != nil {
			return err
		}
	}
	if err := i.spill(); err != nil {
		return err
	}
	mem := g.space.bytes()
	img := &Image{size: uint64(len(mem)), regs: g.regs.clone(), fd: -1}
	n := len(mem)
	for n > 0 && mem[n-1] == 0 {
		n--
	}
	n = min(len(mem), (n+blockBytes-1)&^(blockBytes-1))
	img.bytes = mem[:n:n]
	img.tree = newTree(img)
	img.root = img.tree.root(&img.regs, img.size, nil)
	if mp := m.engine.mapping; mp != nil {
		if err := mp.share(img); err != nil {
			return err
		}
	}
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if m.engine.images == nil {
		m.engine.images = make(map[*Image]bool)
	}
	m.engine.images[img] = true
	m.image = img
	return nil
}

// close frees the memory file. Spaces of it go on.
func (img *Image) close() error {
	var err error
	if img.unmap != nil {
		err, img.bytes, img.unmap = img.unmap(), nil, nil
	}
	if img.fd >= 0 {
		err, img.fd = errors.Join(err, closeFile(img.fd)), -1
	}
	return err
}

// Root returns the hash of what guests of the module begin as.
func (m *Module) Root() [32]byte { return m.image.root }
