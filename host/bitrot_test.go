package host_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// large is native, with a state that the engine keeps in a file of its own, or the
// store where it is larger still.
type large struct {
	native
	size int
}

func (l *large) Snapshot(c *daemon.Call) ([]byte, error) {
	s, err := l.native.Snapshot(c)
	noise := make([]byte, l.size)
	if _, err := rand.NewChaCha8([32]byte{byte(l.count)}).Read(noise); err != nil {
		return nil, err
	}
	return append(append(s, ' '), noise...), err
}

// rot is a data directory, and what its host has told.
type rot struct {
	dir, cache string
	sender     identity.EntityID
	daemons    map[string]identity.EntityID
	count      map[string]uint64 // events of each, all of the sender; the outputs count them
	gone       identity.EntityID // was stopped
}

func (r *rot) open(dir string) (rt *host.Runtime, s *store.Store, err error) {
	key, err := identity.ReadKeyFile(filepath.Join(dir, "node.key"), nil)
	if err != nil {
		return nil, nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	if s, err = store.Open(store.Options{Dir: dir, Logger: quiet}); err != nil {
		return nil, nil, err
	}
	rt, err = host.New(ctx, host.Options{Node: key, Store: s, CacheDir: r.cache, Logger: quiet, Limits: daemon.Limits{SnapshotEvents: 3}})
	if err == nil {
		made := 0
		of := func(size int) daemon.Factory {
			return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &large{size: size}, nil })
		}
		err = errors.Join(rt.RegisterFactory("n", nativeFactory(&made)), rt.RegisterFactory("b", of(100<<10)), rt.RegisterFactory("f", of(1100<<10)), rt.Start(ctx))
	}
	if err != nil {
		if rt != nil {
			err = errors.Join(err, rt.Shutdown(ctx))
		}
		return nil, nil, errors.Join(err, s.Close())
	}
	return rt, s, nil
}

// makeRot runs a host in three lives, so that there are tables, a log, deltas,
// passive daemons and a tombstone. The last life ends in order, or is killed: the
// directory is then a copy that was made while it ran.
func makeRot(t *testing.T, killed bool) *rot {
	t.Helper()
	r := &rot{dir: t.TempDir(), cache: t.TempDir(), sender: newKey(t).ID(), daemons: make(map[string]identity.EntityID), count: make(map[string]uint64)}
	if err := identity.WriteKeyFile(filepath.Join(r.dir, "node.key"), newKey(t), nil); err != nil {
		t.Fatal(err)
	}
	for life := range 3 {
		rt, s, err := r.open(r.dir)
		if err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			if _, err := rt.Kinds().Push(ctx, "k", guest(t, "c/counter.wasm")); err != nil {
				t.Fatal(err)
			}
			for name, kind := range map[string]string{"c": "k", "p": "k", "n": "n", "b": "b", "f": "f", "gone": "n"} {
				d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: kind, Name: name})
				if err != nil {
					t.Fatal(err)
				}
				r.daemons[name] = d.Entity
			}
			r.gone = r.daemons["gone"]
			delete(r.daemons, "gone")
			if err := rt.Stop(ctx, r.gone); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.daemons)) { // the large one first: what is written last is left alone below
			id := r.daemons[name]
			for range 5 {
				r.count[name]++
				res, err := rt.Deliver(ctx, id, daemon.Event{Sender: r.sender, Number: r.count[name], Payload: []byte("x")})
				if err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(r.count[name]) {
					t.Fatal(res, err)
				}
			}
			if name == "p" && !rt.Passivate(id) {
				t.Fatal("a daemon stays active")
			}
		}
		if killed && life == 2 {
			if err := s.Commit(&store.Batch{}); err != nil { // what was submitted before is on disk
				t.Fatal(err)
			}
			left := t.TempDir()
			if err := os.CopyFS(filepath.Join(left, "data"), os.DirFS(r.dir)); err != nil {
				t.Fatal(err)
			}
			r.dir = filepath.Join(left, "data")
		}
		if err := errors.Join(rt.Shutdown(ctx), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// wrong says what a host on the directory answers wrongly. found says whether
// damage was found and named.
func (r *rot) wrong(dir string) (what string, found bool) {
	rt, s, err := r.open(dir)
	if err != nil {
		return "", true
	}
	defer func() {
		if err := errors.Join(rt.Shutdown(ctx), s.Close()); err != nil && what == "" {
			found = true
		}
	}()
	for name, id := range r.daemons {
		i, err := rt.Daemons().Inspect(id)
		if err != nil {
			return fmt.Sprintf("%s is not there: %v", name, err), found
		}
		if i.State == "failed" || i.State == "diverged" {
			if i.Reason == "" {
				return name + " failed without a reason", found
			}
			found = true
			continue
		}
		n := r.count[name]
		for _, number := range []uint64{n + 1, 1, n} {
			res, err := rt.Deliver(ctx, id, daemon.Event{Sender: r.sender, Number: number, Payload: []byte("x")})
			if err != nil {
				if i, _ := rt.Daemons().Inspect(id); i.State != "failed" && i.State != "diverged" && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrPoisoned) {
					return fmt.Sprintf("%s, event %d: %v, and it is %s", name, number, err, i.State), found
				}
				found = true
				break
			}
			if len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(number) {
				return fmt.Sprintf("%s answers event %d with %q", name, number, texts(res)), found
			}
		}
	}
	if _, err := rt.Daemons().Inspect(r.gone); !errors.Is(err, daemon.ErrNotFound) {
		return fmt.Sprintf("the stopped daemon: %v", err), found
	}
	return "", found
}

// A bit that flips in any file of a data directory is harmless, or it is found
// out and named: the host does not start, or the daemon that it concerns takes
// no events. Never is an answer wrong. One thing cannot be told from a write
// that a crash tore: damage in what was written last before the host was killed.
func TestFlippedBitsInDataDirectories(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed=", killed), func(t *testing.T) {
			r := makeRot(t, killed)
			if what, found := r.wrongCopy(t, func(string) {}); what != "" || found {
				t.Fatalf("undamaged: %s, %v", what, found)
			}
			const each = 10
			rng := rand.New(rand.NewPCG(11, 12))
			flips, found := 0, 0
			files := make(map[string]int64)
			err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				i, err := e.Info()
				name, err2 := filepath.Rel(r.dir, path)
				files[name] = i.Size()
				return errors.Join(err, err2)
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, size := range files {
				if killed && strings.HasSuffix(name, ".log") {
					size -= lastWrite(t, filepath.Join(r.dir, name))
				}
				for range each {
					if size <= 0 {
						break
					}
					at, bit := rng.Int64N(size), rng.IntN(8)
					what, was := r.wrongCopy(t, func(dir string) { flip(t, filepath.Join(dir, name), at, bit) })
					if what != "" {
						t.Errorf("%s, bit %d of byte %d of %d: %s", name, bit, at, files[name], what)
					}
					if flips++; was {
						found++
					}
				}
			}
			apart := 0
			for name := range files {
				if strings.HasSuffix(name, ".blob") {
					apart++
				}
			}
			if len(files) < 6 || found == 0 || apart == 0 {
				t.Errorf("%d files, %d of large values, %d flips, %d of them found", len(files), apart, flips, found)
			}
			t.Logf("%d files, %d flips, %d of them found, the others harmless", len(files), flips, found)
		})
	}
}

// lastWrite returns how many bytes of a log to leave alone: the last record,
// and what is empty behind it.
func lastWrite(t *testing.T, path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return int64(len(b) - max(0, n-2048))
}

func (r *rot) wrongCopy(t *testing.T, damage func(dir string)) (string, bool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rot")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "data")
	if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "node.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	damage(dir)
	return r.wrong(dir)
}

func flip(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1 << bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
