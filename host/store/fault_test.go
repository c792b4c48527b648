package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// smallDisk has room for so many bytes of writes. With says it reports how full
// it is.
type smallDisk struct {
	*vfs.MemFS
	says bool
	left *atomic.Int64
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if !d.says {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	left := uint64(max(0, d.left.Load()))
	return vfs.DiskUsage{AvailBytes: left, TotalBytes: 1 << 30}, nil
}

func (d smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(name, c)
	return smallFile{f, d}, err
}

func (d smallDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.ReuseForWrite(old, name, c)
	return smallFile{f, d}, err
}

type smallFile struct {
	vfs.File
	d smallDisk
}

func (f smallFile) Write(b []byte) (int, error) {
	if f.d.left.Add(-int64(len(b))) < 0 {
		f.d.left.Add(int64(len(b)))
		n, _ := f.File.Write(b[:len(b)/2]) // a full disk takes what fits
		return n, syscall.ENOSPC
	}
	return f.File.Write(b)
}

func put(s *Store, k string, size int) error {
	b := &Batch{}
	b.Put(Meta, []byte(k), make([]byte, size))
	return s.Commit(b)
}

// A disk runs full, whether it says so in time or not: the store refuses, is
// readable, and goes on when there is room. What was acknowledged is there.
func TestFullDiskIsSurvived(t *testing.T) {
	for _, says := range []bool{true, false} {
		t.Run(fmt.Sprint("says=", says), func(t *testing.T) {
			left := &atomic.Int64{}
			left.Store(8 << 20)
			fs := smallDisk{vfs.NewMem(), says, left}
			dir := t.TempDir()
			s := open(t, Options{Dir: dir, FS: fs, Reserve: 2 << 20})
			acked := make(map[string]bool)
			fill := func(round int) {
				for i := range 10_000 {
					k := fmt.Sprint(round, "-", i)
					if err := s.Err(); err != nil {
						if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrPoisoned) {
							t.Fatal(err)
						}
						return
					}
					if err := put(s, k, 8<<10); err == nil {
						acked[k] = true
					} else if !errors.Is(err, ErrNoSpace) {
						t.Fatal(err)
					}
				}
				t.Fatal("it never filled")
			}
			for round := range 3 {
				fill(round)
				if len(acked) == 0 {
					t.Fatal("nothing fitted")
				}
				for k := range acked {
					if _, err := s.Get(Meta, []byte(k)); err != nil {
						t.Fatalf("round %d, while full: %q: %v", round, k, err)
					}
				}
				before := s.Generation()
				left.Add(40 << 20)
				for deadline := time.Now().Add(10 * time.Second); s.Err() != nil; {
					if time.Now().After(deadline) {
						t.Fatalf("round %d: it does not go on: %v", round, s.Err())
					}
				}
				if reopened := s.Generation() > before; reopened == says {
					t.Errorf("round %d: reopened: %v", round, reopened)
				}
				for k := range acked {
					if _, err := s.Get(Meta, []byte(k)); err != nil {
						t.Fatalf("round %d, after: %q: %v", round, k, err)
					}
				}
				left.Store(8 << 20)
			}
			left.Store(1 << 40)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, Options{Dir: dir, FS: fs})
			for k := range acked {
				if _, err := s.Get(Meta, []byte(k)); err != nil {
					t.Fatalf("after a restart: %q: %v", k, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A batch that follows from what was lost is refused after the store was
// reopened, and so leaves no gap.
func TestReopenedStoreRefusesWhatFollowsFromLoss(t *testing.T) {
	left := &atomic.Int64{}
	left.Store(1 << 20)
	s := open(t, Options{Dir: t.TempDir(), FS: smallDisk{vfs.NewMem(), false, left}})
	left.Store(0)
	follow := func(i uint64) error {
		b := &Batch{Generation: 1}
		b.Append(ID{}, i, make([]byte, 100))
		return s.Commit(b)
	}
	if err := follow(0); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if err := follow(1); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	left.Store(100 << 20)
	for s.Err() != nil {
	}
	if err := follow(2); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	if err := put(s, "k", 1); err != nil {
		t.Errorf("a batch that follows from nothing: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A sync that failed is never tried again, even when it says that the disk is
// full: what it should have written may be lost.
func TestFailedSyncIsFinal(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		var broken atomic.Bool
		mem := vfs.NewCrashableMem()
		inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
				return cause
			}
			return nil
		})
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, FS: errorfs.Wrap(mem, inj)})
		if err := put(s, "before", 1); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if err := put(s, "during", 1); !errors.Is(err, ErrPoisoned) {
			t.Fatalf("got %v", err)
		}
		broken.Store(false)
		select {
		case <-s.Failed():
		default:
			t.Error("nobody is told")
		}
		if err := put(s, "after", 1); !errors.Is(err, ErrPoisoned) || !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Get(Meta, []byte("before")); err != nil {
			t.Errorf("reading: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		again := open(t, Options{Dir: dir, FS: mem.CrashClone(vfs.CrashCloneCfg{})})
		if _, err := again.Get(Meta, []byte("before")); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A write that is not permitted any more is no reason to go on either.
func TestPermissionLost(t *testing.T) {
	var lost atomic.Bool
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if lost.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return os.ErrPermission
		}
		return nil
	})
	s := open(t, Options{Dir: t.TempDir(), FS: errorfs.Wrap(vfs.NewMem(), inj)})
	lost.Store(true)
	if err := put(s, "k", 1); !errors.Is(err, ErrPoisoned) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A bit that flips in any file is found out, or was in nothing that counts:
// never is something else read than what was written. Only damage in what was
// written last before the host was killed looks like a write that a crash tore.
func TestFlippedBitIsFoundOut(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed=", killed), func(t *testing.T) { flippedBits(t, killed) })
	}
}

func flippedBits(t *testing.T, killed bool) {
	const records = 60
	mem := vfs.NewMem()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, FS: mem})
	id := ID{7}
	for i := range uint64(records) {
		b := &Batch{}
		b.Append(id, i, fmt.Appendf(nil, "record %d %s", i, strings.Repeat("x", 50)))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		if i == records/2 { // half in a table, half in the log
			if err := s.db.Load().Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := vfs.NewMem() // as a kill leaves it
	if ok, err := vfs.Clone(mem, left, dir, dir, vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if killed {
		mem = left
	}
	root := filepath.Join(dir, "db")
	names, err := mem.List(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(root, name)
		whole := readAll(t, mem, path)
		step := max(1, len(whole)/150)
		for at := 0; at < len(whole); at += step {
			what := readFlipped(t, dir, mem, path, at, records)
			if killed && strings.HasSuffix(name, ".log") && what == fmt.Sprint(records-1, " records, <nil>") && at > len(whole)-300 {
				continue
			}
			if what != "" {
				t.Errorf("%s, bit %d of byte %d of %d: %s", name, at%8, at, len(whole), what)
			}
		}
	}
}

func readAll(t *testing.T, fs vfs.FS, path string) []byte {
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size())
	if len(b) > 0 {
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// readFlipped opens a copy of the disk with one bit flipped and says what is
// wrong with what is read of it.
func readFlipped(t *testing.T, dir string, mem *vfs.MemFS, path string, at, records int) (wrong string) {
	fs := vfs.NewMem()
	if ok, err := vfs.Clone(mem, fs, dir, dir, vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (at % 8)
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != nil {
			wrong = fmt.Sprint("panic: ", p)
		}
	}()
	s, err := Open(Options{Dir: dir, FS: fs})
	if err != nil {
		return "" // found out
	}
	defer s.Close()
	n := uint64(0)
	err = s.ReadHistory(ID{7}, 0, ^uint64(0), func(i uint64, rec []byte) error {
		if n++; string(rec) != fmt.Sprintf("record %d %s", i, strings.Repeat("x", 50)) {
			return fmt.Errorf("record %d reads %q", i, rec)
		}
		return nil
	})
	switch {
	case err == nil && n == uint64(records), errors.Is(err, ErrCorrupt):
		return ""
	}
	return fmt.Sprintf("%d records, %v", n, err)
}

// What is torn from the end of the log was not acknowledged; all before it is
// there.
func TestTornTail(t *testing.T) {
	mem := vfs.NewCrashableMem()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, FS: mem})
	var mu sync.Mutex
	for i := range 20 {
		if err := put(s, fmt.Sprint("k", i), 100); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		mu.Unlock()
		again := open(t, Options{Dir: dir, FS: crashed})
		for j := range i + 1 {
			if _, err := again.Get(Meta, fmt.Append(nil, "k", j)); err != nil {
				t.Errorf("after %d: %d: %v", i, j, err)
			}
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestRealFullDisk does on a file system of 24 MiB what TestFullDiskIsSurvived
// does in memory. It needs the right to mount one.
func TestRealFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m,mode=0700"); err != nil {
		t.Skip("mounting a tmpfs:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	data := filepath.Join(dir, "data")
	for _, reserve := range []int64{0, -1} {
		s := open(t, Options{Dir: data, Reserve: reserve})
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 48<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		acked := 0
		var failed error
		for ; acked < 100_000 && failed == nil; acked++ {
			if failed = s.Err(); failed == nil {
				failed = put(s, fmt.Sprint(reserve, "-", acked), 64<<10)
			}
		}
		acked--
		if !errors.Is(failed, ErrNoSpace) || errors.Is(failed, ErrPoisoned) {
			t.Fatalf("reserve %d: after %d: %v", reserve, acked, failed)
		}
		if _, err := s.Get(Meta, fmt.Append(nil, reserve, "-0")); err != nil {
			t.Errorf("reading: %v", err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); s.Err() != nil; {
			if time.Now().After(deadline) {
				t.Fatalf("reserve %d: it does not go on: %v", reserve, s.Err())
			}
		}
		if err := put(s, "after", 1); err != nil {
			t.Errorf("after space was freed: %v", err)
		}
		b := &Batch{}
		for i := range acked {
			k := fmt.Append(nil, reserve, "-", i)
			if _, err := s.Get(Meta, k); err != nil {
				t.Fatalf("reserve %d: record %d: %v", reserve, i, err)
			}
			b.Delete(Meta, k)
		}
		if err := errors.Join(s.Commit(b), s.db.Load().Compact(t.Context(), []byte("a"), []byte("z"), false), s.Close()); err != nil {
			t.Error(err)
		}
	}
}
