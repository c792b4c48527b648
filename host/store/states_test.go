package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// putState gives the batch a state in a file; its record is the digest.
func putState(t testing.TB, s *Store, b *Batch, table Table, k []byte, state []byte) {
	t.Helper()
	f, err := s.NewState(ID(k[:32]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(state); err != nil {
		t.Fatal(err)
	}
	if f.Digest() != sha256.Sum256(state) || f.Size() != int64(len(state)) {
		t.Fatalf("digest %x, %d bytes", f.Digest(), f.Size())
	}
	d := f.Digest()
	b.PutFile(table, k, d[:], f)
}

// readState returns the state that a record speaks of; nil where there is none.
func readState(s *Store, table Table, k []byte) ([]byte, error) {
	d, err := s.Get(table, k)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, size, err := s.OpenState(ID(k[:32]), Digest(d))
	if err != nil {
		return nil, err
	}
	state, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err == nil && (int64(len(state)) != size || sha256.Sum256(state) != Digest(d)) {
		err = fmt.Errorf("the file of %x has %d bytes with digest %x", d[:4], len(state), sha256.Sum256(state))
	}
	return state, err
}

func stateFiles(t testing.TB, s *Store) []string {
	t.Helper()
	names, err := s.fs.List(s.states.dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStatesInFiles(t *testing.T) {
	for _, o := range []Options{{Dir: t.TempDir()}, {Ephemeral: true}} {
		s := open(t, o)
		id, other := ID{1}, ID{2}
		delta := append(id[:], 0, 0, 0, 0)
		big := bytes.Repeat([]byte("state"), 2<<20)
		commit := func(fill func(b *Batch)) {
			t.Helper()
			b := &Batch{}
			fill(b)
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(files int, want map[Table][]byte) {
			t.Helper()
			for table, state := range want {
				k := id[:]
				if table == Deltas {
					k = delta
				}
				if got, err := readState(s, table, k); err != nil || !bytes.Equal(got, state) {
					t.Fatalf("%c: %d bytes, want %d, %v", table, len(got), len(state), err)
				}
			}
			if names := stateFiles(t, s); len(names) != files {
				t.Fatalf("files %v, want %d", names, files)
			}
		}
		commit(func(b *Batch) { putState(t, s, b, Snapshots, id[:], big) })
		commit(func(b *Batch) { putState(t, s, b, Snapshots, other[:], big) }) // of the same content
		commit(func(b *Batch) { putState(t, s, b, Deltas, delta, []byte("changes")) })
		expect(3, map[Table][]byte{Snapshots: big, Deltas: []byte("changes")})
		commit(func(b *Batch) { putState(t, s, b, Snapshots, id[:], big) }) // as it was
		expect(2, map[Table][]byte{Snapshots: big})
		if !o.Ephemeral {
			for _, name := range []string{tempPrefix + "7", "some other"} {
				if err := os.WriteFile(filepath.Join(o.Dir, "states", name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
		}
		expect(2, map[Table][]byte{Snapshots: big})
		commit(func(b *Batch) {
			putState(t, s, b, Snapshots, id[:], []byte("one")) // both in one commit
			putState(t, s, b, Snapshots, id[:], []byte("two"))
		})
		expect(2, map[Table][]byte{Snapshots: []byte("two")})
		commit(func(b *Batch) { b.Put(Snapshots, id[:], []byte("small")) })
		expect(1, nil)
		commit(func(b *Batch) { b.Delete(Snapshots, other[:]) })
		expect(0, nil)
		f, err := s.NewState(id)
		if err != nil {
			t.Fatal(err)
		}
		f.Discard()
		expect(0, nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// steps calls at before and after each operation that makes something durable,
// or renames or removes a file.
type steps struct {
	*vfs.MemFS
	at func()
}

func (d steps) do(op func() error) error {
	d.at()
	defer d.at()
	return op()
}

func (d steps) wrap(f vfs.File, err error) (vfs.File, error) { return stepFile{f, d}, err }

func (d steps) Create(n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.MemFS.Create(n, c))
}
func (d steps) OpenDir(n string) (vfs.File, error) { return d.wrap(d.MemFS.OpenDir(n)) }
func (d steps) Rename(o, n string) error {
	return d.do(func() error { return d.MemFS.Rename(o, n) })
}
func (d steps) Remove(n string) error { return d.do(func() error { return d.MemFS.Remove(n) }) }

type stepFile struct {
	vfs.File
	d steps
}

func (f stepFile) Sync() error     { return f.d.do(f.File.Sync) }
func (f stepFile) SyncData() error { return f.d.do(f.File.SyncData) }

// A crash at any point leaves a state that a record speaks of whole, none older
// than what was reported durable, and no file that none speaks of.
func TestCrashKeepsStatesInFiles(t *testing.T) {
	type moment struct {
		disk     *vfs.MemFS
		reported int
	}
	var (
		mu       sync.Mutex
		reported int
		moments  []moment
		stopped  bool
	)
	rng := rand.New(rand.NewPCG(3, 4))
	mem := vfs.NewCrashableMem()
	dir := t.TempDir() // for the format file and modules alone
	s := open(t, Options{Dir: dir, FS: steps{mem, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			moments = append(moments, moment{mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng}), reported})
		}
	}}})
	id := ID{9}
	state := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "state %d;", i), 1000) }
	for i := 1; i <= 6; i++ {
		b := &Batch{}
		if i%3 == 0 {
			b.Delete(Snapshots, id[:])
		} else {
			putState(t, s, b, Snapshots, id[:], state(i))
		}
		b.Append(id, uint64(i-1), fmt.Append(nil, i))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		reported = i
		mu.Unlock()
	}
	mu.Lock()
	stopped = true
	mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(moments) < 40 {
		t.Fatalf("%d moments", len(moments))
	}
	for n, m := range moments {
		s := open(t, Options{Dir: dir, FS: m.disk})
		end, err := s.HistoryEnd(id)
		if err != nil || int(end) < m.reported {
			t.Fatalf("moment %d: %d records, %d reported, %v", n, end, m.reported, err)
		}
		var want []byte
		files := 0
		if end%3 != 0 {
			want, files = state(int(end)), 1
		}
		if got, err := readState(s, Snapshots, id[:]); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("moment %d: after %d records %.20q, want %.20q, %v", n, end, got, want, err)
		}
		if names := stateFiles(t, s); len(names) != files {
			t.Fatalf("moment %d: files %v, want %d", n, names, files)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that fills while a state is written refuses that state alone; one whose
// sync fails is given up, with the batch that needed it.
func TestStatesOnABadDisk(t *testing.T) {
	var fault error
	at := ""
	broken := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fault != nil && (at == "write" && op.Kind == errorfs.OpFileWrite || at == "sync" && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)) &&
			filepath.Base(filepath.Dir(op.Path)) == "states" {
			return fault
		}
		return nil
	})
	s := open(t, Options{Dir: t.TempDir(), FS: errorfs.Wrap(vfs.NewMem(), broken)})
	id := ID{5}
	b := &Batch{}
	putState(t, s, b, Snapshots, id[:], []byte("first"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	fault, at = syscall.ENOSPC, "write"
	f, err := s.NewState(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("second")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("writing on a full disk: %v", err)
	}
	f.Discard()
	if err := s.Err(); err != nil {
		t.Errorf("the store is given up for a state that found no room: %v", err)
	}
	if got, err := readState(s, Snapshots, id[:]); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	fault = nil
	b = &Batch{}
	putState(t, s, b, Snapshots, id[:], []byte("third"))
	fault, at = errors.New("the disk is on fire"), "sync"
	if err := s.Commit(b); !errors.Is(err, ErrPoisoned) {
		t.Errorf("a commit whose state cannot be synced: %v", err)
	}
	fault = nil
	if err := s.Commit(&Batch{}); !errors.Is(err, ErrPoisoned) {
		t.Errorf("a commit after that: %v", err)
	}
	if got, err := readState(s, Snapshots, id[:]); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
