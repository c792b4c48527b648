package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping makes spaces that are copy-on-write views of images: a space costs
// two mappings of addresses, and the pages that it writes.
type mapping struct {
	pagemap int         // of this process, for PAGEMAP_SCAN
	uffd    int         // userfaultfd for asynchronous write protection; -1: the kernel has or gives none
	noUffd  atomic.Bool // a registration failed: go on without
	noHuge  bool
}

// newMapping reports an error where the kernel lacks what mapping needs:
// memfd (Linux 3.17) and PAGEMAP_SCAN (6.7).
func newMapping() (*mapping, error) {
	if unix.Getpagesize() != blockBytes {
		return nil, fmt.Errorf("pages of %d bytes", unix.Getpagesize())
	}
	m := &mapping{uffd: -1}
	var err error
	if m.pagemap, err = unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("opening the page map: %w", err)
	}
	if err := m.try(); err != nil {
		m.close()
		return nil, err
	}
	m.openUffd()
	huge, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	m.noHuge = err == nil && bytes.Contains(huge, []byte("[always]"))
	return m, nil
}

// try makes an image and a space, writes to it and looks for what it wrote.
func (m *mapping) try() error {
	img := &Image{size: pageSize, bytes: bytes.Repeat([]byte{1}, 2*blockBytes)}
	if err := m.share(img); err != nil {
		return err
	}
	defer img.close()
	s, err := m.space(img, 2*pageSize)
	if err != nil {
		return err
	}
	defer s.free()
	s.bytes()[blockBytes] = 2
	found := false
	if err := s.changed(func(first, n uint32) { found = found || first == 1 && n == 1 }); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("PAGEMAP_SCAN does not find a page that was written")
	}
	return nil
}

func (m *mapping) close() {
	_ = unix.Close(m.pagemap) // nothing was written to either
	if m.uffd >= 0 {
		_ = unix.Close(m.uffd)
	}
}

// most returns how many spaces there can be at a time: each takes two of the
// mappings that the kernel allows a process, some of which are for others.
func (m *mapping) most() int {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return 16_000
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 16_000
	}
	return max(64, n*2/5)
}

// share puts the image's bytes into a sealed memory file.
func (m *mapping) share(img *Image) error {
	size := (len(img.bytes) + blockBytes - 1) &^ (blockBytes - 1)
	img.fd = -1
	if size == 0 {
		return nil
	}
	fd, err := unix.MemfdCreate("wasmhost-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("making a memory file: %w", err)
	}
	img.fd = fd
	err = unix.Ftruncate(fd, int64(size))
	for off := 0; err == nil && off < len(img.bytes); {
		var n int
		n, err = unix.Pwrite(fd, img.bytes[off:], int64(off))
		off += n
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	var shared unsafe.Pointer
	if err == nil {
		shared, err = unix.MmapPtr(fd, 0, nil, uintptr(size), unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		img.close()
		return fmt.Errorf("writing an image of %d bytes: %w", size, err)
	}
	img.bytes = unsafe.Slice((*byte)(shared), size)
	img.unmap = func() error { return unix.MunmapPtr(shared, uintptr(size)) }
	return nil
}

// space maps the image, with room to grow to limit bytes.
func (m *mapping) space(img *Image, limit uint64) (space, error) {
	const rw = unix.PROT_READ | unix.PROT_WRITE
	reserve := uintptr(max(limit, img.size, pageSize)) // no mapping is empty
	base, err := unix.MmapPtr(-1, 0, nil, reserve, rw, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes of addresses: %w", reserve, err)
	}
	s := &mappedSpace{m: m, image: img, base: base, reserve: reserve, limit: limit, size: img.size}
	if img.fd >= 0 {
		if _, err := unix.MmapPtr(img.fd, 0, base, uintptr(len(img.bytes)), rw, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE); err != nil {
			s.free()
			return nil, fmt.Errorf("mapping an image: %w", err)
		}
	}
	if m.noHuge {
		if err := unix.Madvise(unsafe.Slice((*byte)(base), reserve), unix.MADV_NOHUGEPAGE); err != nil {
			s.free()
			return nil, fmt.Errorf("refusing huge pages: %w", err)
		}
	}
	return s, nil
}

// mappedSpace is a private view of an image's memory file, with anonymous
// memory beyond.
type mappedSpace struct {
	m       *mapping
	image   *Image
	base    unsafe.Pointer
	reserve uintptr
	limit   uint64
	size    uint64
	armed   bool // writes are noted since the last mark; before, every private page counts
}

func (s *mappedSpace) bytes() []byte { return unsafe.Slice((*byte)(s.base), s.reserve)[:s.size] }

func (s *mappedSpace) resize(size uint64) bool {
	if size > s.limit && size > s.size {
		return false
	}
	if size < s.size {
		s.advise(size, s.size)
	}
	s.size = size
	return true
}

func (s *mappedSpace) discard(first, n uint32) {
	s.advise(uint64(first)*blockBytes, uint64(first+n)*blockBytes)
}

// advise forgets private pages: the next access reads the image again, or zero.
func (s *mappedSpace) advise(from, to uint64) {
	if from == to {
		return
	}
	b := unsafe.Slice((*byte)(s.base), s.reserve)[from:to]
	if err := unix.Madvise(b, unix.MADV_DONTNEED); err != nil {
		panic(fmt.Sprintf("madvise of a mapped range: %v", err)) // a range of our own mapping cannot be refused
	}
}

// expect makes the pages private at once: one by one, as each is written first, takes
// several times as long. A kernel before 5.14 does that.
func (s *mappedSpace) expect(first, n uint32) {
	_ = unix.Madvise(s.bytes()[uint64(first)*blockBytes:][:uint64(n)*blockBytes], unix.MADV_POPULATE_WRITE)
}

func (s *mappedSpace) changed(visit func(first, n uint32)) error {
	if s.armed {
		return s.m.scan(s, pmCheckAsync, pageWritten, 0, 0, visit)
	}
	// A private page is one that is neither the file's nor the zero page.
	const not = pageFile | pageZero
	return s.m.scan(s, 0, not, not, pagePresent|pageSwapped, visit)
}

// armAt is from how many private pages on noting writes beats copying all of
// them at each mark.
const armAt = 96

func (s *mappedSpace) mark(visit func(first, n uint32)) error {
	if s.armed {
		return s.m.scan(s, pmWriteProtect|pmCheckAsync, pageWritten, 0, 0, visit)
	}
	private := uint32(0)
	err := s.changed(func(first, n uint32) {
		private += n
		visit(first, n)
	})
	if err != nil || private < armAt || !s.m.notes() {
		return err
	}
	if err := s.m.register(s); err != nil {
		s.m.noUffd.Store(true)
		return nil
	}
	s.armed = true
	return s.m.scan(s, pmWriteProtect|pmCheckAsync, pageWritten, 0, 0, func(uint32, uint32) {})
}

func (s *mappedSpace) free() {
	if s.base == nil {
		return
	}
	if err := unix.MunmapPtr(s.base, s.reserve); err != nil {
		panic(fmt.Sprintf("munmap of a mapping of our own: %v", err))
	}
	s.base = nil
}

func closeFile(fd int) error { return unix.Close(fd) }

// notes reports whether writes can be noted.
func (m *mapping) notes() bool { return m.uffd >= 0 && !m.noUffd.Load() }
