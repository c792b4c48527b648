package sandbox

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The interface of PAGEMAP_SCAN and of userfaultfd's asynchronous write
// protection: Linux, Documentation/admin-guide/mm/pagemap.rst and
// userfaultfd.rst; numbers from include/uapi/linux/fs.h and userfaultfd.h.
const (
	pageWritten = 1 << 1
	pageFile    = 1 << 2
	pagePresent = 1 << 3
	pageSwapped = 1 << 4
	pageZero    = 1 << 5

	pmWriteProtect = 1 << 0 // protect what matched, in the same step
	pmCheckAsync   = 1 << 1 // fail where writes are not noted

	ioctlPagemapScan  = 0xc0606610
	ioctlUffdAPI      = 0xc018aa3f
	ioctlUffdRegister = 0xc020aa00

	uffdUserModeOnly = 1
	uffdWriteProtect = 1 << 1 // the mode of a registration
	uffdFeatures     = 1<<15 | 1<<13 | 1<<12 | 1<<0
)

type pageRegion struct{ start, end, _ uint64 }

type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages   uint64
	categoryInverted, categoryMask, categoryAnyof, returnMask uint64
}

var regions = sync.Pool{New: func() any { return new([256]pageRegion) }}

// scan visits the runs of the space's pages that are in all categories of mask
// (inverted where inv says so) and in one of any.
func (m *mapping) scan(s *mappedSpace, flags, mask, inv, any uint64, visit func(first, n uint32)) error {
	vec := regions.Get().(*[256]pageRegion)
	defer regions.Put(vec)
	base := uint64(uintptr(s.base))
	end := base + s.size
	for start := base; start < end; {
		a := pmScanArg{size: 96, flags: flags, start: start, end: end, vec: uint64(uintptr(unsafe.Pointer(vec))), vecLen: uint64(len(vec)),
			categoryInverted: inv, categoryMask: mask, categoryAnyof: any, returnMask: mask&^inv | any}
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m.pagemap), ioctlPagemapScan, uintptr(unsafe.Pointer(&a)))
		if errno != 0 {
			return fmt.Errorf("looking for changed pages: %w", errno)
		}
		for _, r := range vec[:n] {
			visit(uint32((r.start-base)/blockBytes), uint32((r.end-r.start)/blockBytes))
		}
		if a.walkEnd <= start {
			return fmt.Errorf("looking for changed pages: the kernel stopped at %#x of %#x", a.walkEnd-base, s.size)
		}
		start = a.walkEnd
	}
	return nil
}

// openUffd leaves m.uffd at -1 where the kernel does not give what is needed:
// changes are then found without.
func (m *mapping) openUffd() {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return
	}
	api := struct{ api, features, ioctls uint64 }{api: 0xaa, features: uffdFeatures}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlUffdAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
		_ = unix.Close(int(fd))
		return
	}
	m.uffd = int(fd)
}

// register has writes to the space noted from the next protection on.
func (m *mapping) register(s *mappedSpace) error {
	r := struct{ start, size, mode, ioctls uint64 }{uint64(uintptr(s.base)), uint64(s.reserve), uffdWriteProtect, 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m.uffd), ioctlUffdRegister, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("noting writes: %w", errno)
	}
	return nil
}
