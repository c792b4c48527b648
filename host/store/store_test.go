package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTablesAndHistory(t *testing.T) {
	for _, ephemeral := range []bool{false, true} {
		s := open(t, Options{Dir: t.TempDir(), Ephemeral: ephemeral})
		id, other := ID{1}, ID{2}
		b := &Batch{}
		b.Put(Kinds, []byte("k"), []byte("v"))
		for i := range uint64(10) {
			b.Append(id, i, fmt.Append(nil, i))
		}
		b.Append(other, 0, []byte("theirs"))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		if v, err := s.Get(Kinds, []byte("k")); err != nil || string(v) != "v" {
			t.Errorf("%q, %v", v, err)
		}
		if _, err := s.Get(Daemons, []byte("k")); !errors.Is(err, ErrNotFound) {
			t.Errorf("a key of another table: %v", err)
		}
		var got []string
		err := s.ReadHistory(id, 3, 7, func(i uint64, rec []byte) error {
			got = append(got, fmt.Sprint(i, string(rec)))
			return nil
		})
		if err != nil || fmt.Sprint(got) != "[3 3 4 4 5 5 6 6]" && fmt.Sprint(got) != "[33 44 55 66]" {
			t.Errorf("%v, %v", got, err)
		}
		if end, err := s.HistoryEnd(id); err != nil || end != 10 {
			t.Errorf("end %d, %v", end, err)
		}
		if err := s.ReadHistory(id, 8, 12, func(uint64, []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a history that ends early: %v", err)
		}
		b = &Batch{}
		b.DeleteHistory(id)
		b.Delete(Kinds, []byte("k"))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		if end, err := s.HistoryEnd(id); err != nil || end != 0 {
			t.Errorf("after deletion: end %d, %v", end, err)
		}
		if end, err := s.HistoryEnd(other); err != nil || end != 1 {
			t.Errorf("another's history: end %d, %v", end, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(&Batch{}); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"wasmhost-data 99\n", "wasmhost-data 1\n", "something else"} {
		if err := os.WriteFile(filepath.Join(dir, "format"), []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrFormat) {
			t.Errorf("format %q: %v", other, err)
		}
	}
}

// The page on compatibility names the versions that the program reads.
func TestFormatIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("| data directory | %d | %d to %d |", formatVersion, oldestVersion, formatVersion); !strings.Contains(string(page), want) {
		t.Errorf("docs/compatibility.md lacks the row %q", want)
	}
	if len(upgrades) != formatVersion-oldestVersion {
		t.Errorf("%d upgrades lead from version %d to %d", len(upgrades), oldestVersion, formatVersion)
	}
}

// The machine crashes at a random moment: all that was reported durable is
// there, in order, and of the rest whole batches or nothing.
func TestCrashKeepsWhatWasReported(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := vfs.NewCrashableMem()
		dir := t.TempDir() // for the format file and modules alone
		s := open(t, Options{Dir: dir, FS: mem})
		var mu sync.Mutex
		durable := 0
		var wg sync.WaitGroup
		id, total := ID{byte(seed)}, 1+rng.IntN(200)
		for i := range total {
			b := &Batch{}
			b.Append(id, uint64(2*i), fmt.Append(nil, "a", i))
			b.Append(id, uint64(2*i+1), fmt.Append(nil, "b", i))
			wg.Add(1)
			s.Submit(b, func(err error) {
				defer wg.Done()
				if err == nil {
					mu.Lock()
					durable++
					mu.Unlock()
				}
			})
		}
		mu.Lock()
		reported := durable
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(100), RNG: rng})
		mu.Unlock()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{Dir: dir, FS: crashed})
		end, err := s.HistoryEnd(id)
		if err != nil || end%2 != 0 || end < uint64(2*reported) {
			t.Errorf("seed %d: %d records after the crash, %d were reported, %v", seed, end, 2*reported, err)
		}
		err = s.ReadHistory(id, 0, end, func(i uint64, rec []byte) error {
			if want := fmt.Sprint([]string{"a", "b"}[i%2], i/2); string(rec) != want {
				return fmt.Errorf("record %d is %q, want %q", i, rec, want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A write that fails poisons the store: nothing is written after it, reading
// goes on, and the cause is told.
func TestFailedWritePoisons(t *testing.T) {
	broken := errors.New("the disk is on fire")
	var on sync.Map
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if _, bad := on.Load("on"); bad && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return broken
		}
		return nil
	})
	s := open(t, Options{Dir: t.TempDir(), FS: errorfs.Wrap(vfs.NewMem(), inj)})
	put := func(k string) error {
		b := &Batch{}
		b.Put(Meta, []byte(k), []byte(k))
		return s.Commit(b)
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	on.Store("on", true)
	if err := put("during"); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("got %v", err)
	}
	on.Delete("on")
	if err := put("after"); !errors.Is(err, ErrPoisoned) || s.Err() == nil {
		t.Errorf("after the disk came back: %v, %v", err, s.Err())
	}
	if v, err := s.Get(Meta, []byte("before")); err != nil || string(v) != "before" {
		t.Errorf("reading: %q, %v", v, err)
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	wasm := []byte("pretend")
	d := sha256.Sum256(wasm)
	if err := s.PutModule(Digest{1}, wasm); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a wrong digest: %v", err)
	}
	if _, err := s.Module(d); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	for range 2 {
		if err := s.PutModule(d, wasm); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Module(d); err != nil || !bytes.Equal(got, wasm) {
		t.Errorf("%q, %v", got, err)
	}
	path := s.modules.path(d)
	if err := os.WriteFile(path, []byte("pretenD"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Module(d); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := s.DeleteModule(d); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modules", tempPrefix+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Dir: dir})
	if entries, err := os.ReadDir(filepath.Join(dir, "modules")); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestManySubmitters(t *testing.T) {
	s := open(t, Options{Ephemeral: true})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			last := -1
			var done sync.WaitGroup
			for i := range 200 {
				b := &Batch{}
				b.Append(ID{byte(w)}, uint64(i), []byte("x"))
				done.Add(1)
				s.Submit(b, func(err error) {
					defer done.Done()
					if err != nil || i != last+1 {
						t.Errorf("submitter %d: %d after %d, %v", w, i, last, err)
					}
					last = i
				})
			}
			done.Wait()
		})
	}
	wg.Wait()
	for w := range 8 {
		if end, err := s.HistoryEnd(ID{byte(w)}); err != nil || end != 200 {
			t.Errorf("submitter %d: %d, %v", w, end, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkSubmit(b *testing.B) {
	for _, ephemeral := range []bool{false, true} {
		b.Run(fmt.Sprintf("ephemeral=%v", ephemeral), func(b *testing.B) {
			s := open(b, Options{Dir: b.TempDir(), Ephemeral: ephemeral})
			rec := make([]byte, 128)
			var done sync.WaitGroup
			var i uint64
			for b.Loop() {
				batch := &Batch{}
				batch.Append(ID{}, i, rec)
				i++
				done.Add(1)
				s.Submit(batch, func(error) { done.Done() })
			}
			done.Wait()
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// A directory of the version before is upgraded once, also where the first
// attempt failed.
func TestUpgrade(t *testing.T) {
	done := 0
	const before = formatVersion - 1
	defer func(u func(*Store) error) { upgrades[before] = u }(upgrades[before])
	upgrades[before] = func(s *Store) error {
		if done++; done == 1 {
			return errors.New("cut short")
		}
		return put(s, "upgraded", 1)
	}
	s := open(t, Options{Ephemeral: true})
	dir := t.TempDir()
	if err := s.upgrade(dir, before); err == nil {
		t.Error("a failed upgrade passes")
	}
	if _, err := os.Stat(filepath.Join(dir, "format")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a failed upgrade: %v", err)
	}
	if err := s.upgrade(dir, before); err != nil || done != 2 {
		t.Errorf("%v, %d", err, done)
	}
	if version, err := prepare(dir); err != nil || version != formatVersion {
		t.Errorf("after the upgrade: version %d, %v", version, err)
	}
	if err := errors.Join(s.upgrade(dir, formatVersion), s.Close()); err != nil || done != 2 {
		t.Errorf("%v, %d", err, done)
	}
}

// Senders that come back when they are answered share syncs, all of them; one
// that is alone, and those that do not come back, are not waited for.
func TestWritesGather(t *testing.T) {
	g := gather{answered: 64, took: time.Hour}
	here, calls := 10, 0
	g.wait(func() int { calls++; here += 2; return here })
	if want := 12 + 48; here < want || here > want+2 || g.vain != 0 {
		t.Errorf("it went on with %d, want %d; %+v", here, want, g)
	}
	for range 3 { // nobody comes, and a clock that stands still
		g.skip, g.took = 0, time.Hour
		before := g.vain
		g.wait(func() int { return 0 })
		if g.vain != before+1 || g.skip != 1<<g.vain-1 {
			t.Errorf("%+v", g)
		}
	}
	looks := 0
	look := func() int { looks++; return 0 }
	for g.skip > 0 {
		g.wait(look)
	}
	if looks != 7 { // one for each time it was skipped
		t.Errorf("%d looks while it is not to wait", looks)
	}
	looks, g = 0, gather{answered: 1, took: time.Hour}
	if g.wait(look); looks != 1 {
		t.Errorf("%d looks for one that is alone", looks)
	}
}
