package sandbox

// blockBytes is the unit in which memories are compared, copied and hashed. It
// is a constant of the state's form, whatever the machine's own page is.
const blockBytes = 4096

// block is one unit of a memory.
type block [blockBytes]byte

var zeroBlock block

// space is one linear memory. It begins as a copy of an image; what lies
// beyond the image is zero. It is not safe for concurrent use.
type space interface {
	// bytes returns the memory. It is valid until resize or free.
	bytes() []byte

	// resize grows by zeros, or forgets the end; false where there is no room.
	resize(size uint64) bool

	// changed visits runs of blocks among which are all that differ from what
	// they were at the last mark or, before the first, in the image.
	changed(visit func(first, n uint32)) error

	// mark visits as changed does, and makes what the memory is now that from
	// which changed tells.
	mark(visit func(first, n uint32)) error

	// discard makes n blocks what they are in the image, as they were at the
	// last mark.
	discard(first, n uint32)

	// expect says that n blocks are about to be written.
	expect(first, n uint32)

	free()
}

// heapSpace is a space on Go's heap, for machines without copy-on-write
// images. It knows no changes: all of it may be changed.
type heapSpace struct {
	buf   []byte
	limit uint64
	image *Image
}

func newHeapSpace(img *Image, limit uint64) *heapSpace {
	s := &heapSpace{buf: make([]byte, img.size), limit: limit, image: img}
	copy(s.buf, img.bytes)
	return s
}

func (s *heapSpace) bytes() []byte { return s.buf }

func (s *heapSpace) resize(size uint64) bool {
	if size > s.limit {
		return false
	}
	if old := uint64(len(s.buf)); size <= uint64(cap(s.buf)) {
		s.buf = s.buf[:size]
		if size > old {
			clear(s.buf[old:])
		}
		return true
	}
	grown := make([]byte, size, min(size+size/4, max(size, s.limit)))
	copy(grown, s.buf)
	s.buf = grown
	return true
}

func (s *heapSpace) changed(visit func(first, n uint32)) error {
	visit(0, uint32(len(s.buf)/blockBytes))
	return nil
}

func (s *heapSpace) expect(uint32, uint32) {}

func (s *heapSpace) mark(visit func(first, n uint32)) error { return s.changed(visit) }

func (s *heapSpace) discard(first, n uint32) {
	for b := first; b < first+n; b++ {
		copy(s.buf[uint64(b)*blockBytes:][:blockBytes], s.image.block(b)[:])
	}
}

func (s *heapSpace) free() { s.buf = nil }
