package store

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space watches how full the disk is. Refusing new records while some of it is
// free leaves room for the log that is being written, for tables to be written
// out and merged, and for daemons to be stopped: an engine that runs out of
// disk in the middle of these has to be reopened.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	low     atomic.Bool
	free    atomic.Uint64
	looked  atomic.Int64 // when, Unix nanoseconds
}

// How often the disk is asked.
const (
	lookWhileLow  = 50 * time.Millisecond
	lookWhileFine = time.Millisecond
)

func (s *space) init(fs vfs.FS, o Options) {
	if o.Ephemeral || o.Reserve < 0 {
		return
	}

	s.fs, s.dir, s.reserve = fs, o.Dir, uint64(o.Reserve)
	u, err := fs.GetDiskUsage(o.Dir)
	if err != nil { // a disk that cannot say how full it is
		s.fs = nil
		return
	}

	if s.reserve == 0 {
		s.reserve = min(64<<20, u.TotalBytes/4)
	}

	s.look()
}

func (s *space) look() {
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return
	}
	s.looked.Store(time.Now().UnixNano())
	s.free.Store(u.AvailBytes)
	s.low.Store(u.AvailBytes < s.reserve)
}

// measure looks at the disk unless it did a moment ago.
func (s *space) measure() {
	often := lookWhileFine
	if s.low.Load() {
		often = lookWhileLow
	}
	if s.fs != nil && time.Now().UnixNano()-s.looked.Load() >= int64(often) {
		s.look()
	}
}

// room returns nil where more bytes may come, and ErrNoSpace otherwise.
func (s *space) room(more int) error {
	if s.fs == nil {
		return nil
	}
	if more > 0 {
		s.look()
	} else if s.low.Load() {
		s.measure()
	}

	if s.low.Load() || s.free.Load() < s.reserve+uint64(more) {
		return fmt.Errorf("%w: %d MiB are free, %d MiB stay so for the host itself", ErrNoSpace, s.free.Load()>>20, s.reserve>>20)
	}
	return nil
}

// Free returns how many bytes of a directory's disk are free for its owner.
func Free(dir string) (uint64, error) {
	u, err := vfs.Default.GetDiskUsage(dir)
	return u.AvailBytes, err
}
