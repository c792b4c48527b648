package hosttest_test

import (
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// others lets other goroutines go on while a disk is slow. Virtual time stands
// still meanwhile: some who wait for the disk hold locks.
func others() {
	for range 64 {
		runtime.Gosched()
	}
}

// brittleDisk calls before before each sync of the log, when what was written
// is not durable yet.
type brittleDisk struct {
	*vfs.MemFS
	before func(*vfs.MemFS)
}

func (d brittleDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(name, c)
	return d.watch(name, f), err
}

func (d brittleDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.ReuseForWrite(old, name, c)
	return d.watch(name, f), err
}

func (d brittleDisk) watch(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return brittleFile{f, d}
}

type brittleFile struct {
	vfs.File
	disk brittleDisk
}

func (f brittleFile) Sync() error {
	others()
	f.disk.before(f.disk.MemFS)
	return f.File.Sync()
}

func (f brittleFile) SyncData() error {
	others()
	f.disk.before(f.disk.MemFS)
	return f.File.SyncData()
}
