package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// tapeDisk calls at before and after each operation that makes something
// durable, or that replaces, links or removes a file.
type tapeDisk struct {
	*vfs.MemFS
	at func(what string)
}

func (d tapeDisk) do(what string, op func() error) error {
	d.at("before " + what)
	err := op()
	d.at("after " + what)
	return err
}

func (d tapeDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return tapeFile{f, d}, nil
}

func (d tapeDisk) Create(n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.MemFS.Create(n, c))
}

func (d tapeDisk) ReuseForWrite(o, n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.MemFS.ReuseForWrite(o, n, c))
}
func (d tapeDisk) OpenDir(n string) (vfs.File, error) { return d.wrap(d.MemFS.OpenDir(n)) }
func (d tapeDisk) Rename(o, n string) error {
	return d.do("a rename", func() error { return d.MemFS.Rename(o, n) })
}
func (d tapeDisk) Link(o, n string) error {
	return d.do("a link", func() error { return d.MemFS.Link(o, n) })
}
func (d tapeDisk) Remove(n string) error {
	return d.do("a removal", func() error { return d.MemFS.Remove(n) })
}

type tapeFile struct {
	vfs.File
	d tapeDisk
}

func (f tapeFile) Sync() error     { return f.d.do("a sync", f.File.Sync) }
func (f tapeFile) SyncData() error { return f.d.do("a sync of data", f.File.SyncData) }

// told is what a user did and was told.
type told struct {
	acked   map[uint64]string // number: output
	running map[string]bool   // daemons that were spawned, or stopped
	moved   bool
}

func (s told) clone() told {
	return told{acked: maps.Clone(s.acked), running: maps.Clone(s.running), moved: s.moved}
}

// moment is one crash: what the disks held, and what had been told by then.
type moment struct {
	what  string
	disks []*vfs.MemFS
	told  told
}

// tape collects a moment at each point where a crash makes a difference.
type tape struct {
	mu      sync.Mutex
	disks   []*vfs.MemFS
	told    told
	moments []moment
	rng     *rand.Rand
	stopped bool
}

func newTape(disks int) *tape {
	t := &tape{rng: rand.New(rand.NewPCG(1, 1)), told: told{acked: make(map[uint64]string), running: make(map[string]bool)}}
	for range disks {
		t.disks = append(t.disks, vfs.NewCrashableMem())
	}
	return t
}

func (t *tape) disk(i int) vfs.FS {
	return tapeDisk{t.disks[i], func(what string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.stopped {
			return
		}
		m := moment{what: fmt.Sprintf("%d, %s on disk %d", len(t.moments), what, i), told: t.told.clone()}
		for _, d := range t.disks {
			m.disks = append(m.disks, d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: t.rng.IntN(3) * 50, RNG: t.rng}))
		}
		t.moments = append(t.moments, m)
	}}
}

func (t *tape) note(fn func(*told)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(&t.told)
}

// end returns the moments; nothing is recorded after.
func (t *tape) end() []moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	return t.moments
}

// Deliveries, snapshots and deltas, spawns, stops, a daemon that becomes passive
// and an orderly end: a crash at any point of them loses nothing that was told.
func TestEveryCrashPointOfOneHost(t *testing.T) {
	for _, kind := range []string{"n", "k"} { // native code, and a module
		t.Run(kind, func(t *testing.T) { everyCrashPoint(t, kind) })
	}
}

func everyCrashPoint(t *testing.T, kind string) {
	key, sender, dir := newKey(t), newKey(t).ID(), t.TempDir()
	tp := newTape(1)
	o := host.Options{Node: key, Limits: daemon.Limits{SnapshotEvents: 4}, CheckpointEvery: 5, PassivateAfter: 30 * time.Millisecond}
	r, s := moduleHost(t, dir, tp.disk(0), "c/counter.wasm", o)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: kind, Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	tp.note(func(s *told) { s.running["d"] = true })
	send := func(number uint64) {
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: number, Payload: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		tp.note(func(s *told) { s.acked[number] = string(res.Outputs[0].Payload) })
	}
	for n := uint64(1); n <= 10; n++ {
		send(n)
	}
	e, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: kind, Name: "e"})
	if err != nil {
		t.Fatal(err)
	}
	tp.note(func(s *told) { s.running["e"] = true })
	waitFor(t, "passive daemon", func() bool { return stateOf(t, r, d).State == "passive" })
	send(11)
	tp.note(func(s *told) { delete(s.running, "e") }) // from here on it may be gone
	if err := r.Stop(ctx, e.Entity); err != nil {
		t.Fatal(err)
	}
	tp.note(func(s *told) { s.running["e"] = false })
	send(12)
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	moments := tp.end()
	if len(moments) < 50 {
		t.Fatalf("only %d points", len(moments))
	}
	for _, m := range moments {
		r, s := moduleHost(t, dir, m.disks[0], "c/counter.wasm", o)
		m.check(t, r, d.Entity, sender)
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Errorf("%s: %v", m.what, err)
		}
	}
	t.Logf("%d points", len(moments))
}

// check compares what the runtime has with what was told.
func (m moment) check(t *testing.T, r *host.Runtime, id identity.EntityID, sender identity.EntityID) {
	t.Helper()
	here := make(map[string]bool)
	for _, i := range r.Daemons().List() {
		here[i.Name] = true
		if i.State != "running" && i.State != "passive" {
			t.Errorf("%s: %s is %s: %s", m.what, i.Name, i.State, i.Reason)
		}
	}
	for name, want := range m.told.running {
		if here[name] != want {
			t.Errorf("%s: daemon %s is there: %v", m.what, name, here[name])
		}
	}
	if !here["d"] {
		return
	}
	for n := range uint64(12) {
		want, ok := m.told.acked[n+1]
		if !ok {
			continue
		}
		res, err := r.Deliver(ctx, id, daemon.Event{Sender: sender, Number: n + 1, Payload: []byte("x")})
		if err != nil || !res.Duplicate || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
			t.Errorf("%s: event %d was answered with %s, and now %+v, %v", m.what, n+1, want, res, err)
		}
	}
	var file bytes.Buffer
	if err := r.Outputs().Export(ctx, id, &file); err != nil {
		t.Errorf("%s: %v", m.what, err)
	} else if rep, err := chain.Verify(&file); err != nil || rep.Outputs < uint64(len(m.told.acked)) {
		t.Errorf("%s: %+v, %v", m.what, rep, err)
	}
}

// Both hosts of a migration crash at the same moment, whichever it is: one
// owner is left, and nothing that was told is lost.
func TestEveryCrashPointOfAMigration(t *testing.T) {
	keys, sender := []*identity.KeyPair{newKey(t), newKey(t)}, newKey(t).ID()
	dirs := []string{t.TempDir(), t.TempDir()}
	begin := func(disks []vfs.FS) ([]*host.Runtime, func()) {
		var net hosttest.Net
		var rts []*host.Runtime
		var ends []func() error
		for i := range keys {
			mesh, err := net.Join(keys[i])
			if err != nil {
				t.Fatal(err)
			}
			s := openStore(t, dirs[i], disks[i])
			r := quietHost(t, s, host.Options{Node: keys[i], Mesh: mesh, Limits: daemon.Limits{SnapshotEvents: 4}})
			rts = append(rts, r)
			ends = append(ends, func() error { return errors.Join(r.Shutdown(ctx), s.Close()) })
		}
		return rts, func() {
			for _, end := range ends {
				if err := end(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	tp := newTape(2)
	rts, end := begin([]vfs.FS{tp.disk(0), tp.disk(1)})
	d, err := rts[0].Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	tp.note(func(s *told) { s.running["d"] = true })
	at := 0
	for n := uint64(1); n <= 12; n++ {
		if n%4 == 0 {
			m, err := rts[at].StartMigration(ctx, d.Entity, keys[1-at].ID().Node())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			at = 1 - at
		}
		res, err := rts[at].Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		tp.note(func(s *told) { s.acked[n] = string(res.Outputs[0].Payload) })
	}
	moments := tp.end()
	end()
	for _, m := range moments {
		if !m.told.running["d"] {
			continue
		}
		rts, end := begin([]vfs.FS{m.disks[0], m.disks[1]})
		owner := -1
		waitFor(t, "owner at "+m.what, func() bool {
			owner = -1
			for i, r := range rts {
				if len(r.Migrations().Arriving()) > 0 || r.DaemonCount() > 1 {
					return false
				}
				if r.DaemonCount() == 1 && r.Daemons().List()[0].State == "running" {
					if owner >= 0 {
						t.Errorf("%s: two owners", m.what)
					}
					owner = i
				}
			}
			return owner >= 0
		})
		m.check(t, rts[owner], d.Entity, sender)
		end()
	}
	t.Logf("%d points", len(moments))
}

// The sync of a release fails: nobody knows whether the release is on disk.
// The target must hold on until the source has restarted and knows; then there
// is one owner, whichever it is.
func TestReleaseInDoubt(t *testing.T) {
	for _, there := range []bool{true, false} {
		keys := []*identity.KeyPair{newKey(t), newKey(t)}
		var broken atomic.Bool
		net := &hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
			if _, ok := m.(*migration.Prepared); ok {
				broken.Store(true)
			}
			return true
		}}
		inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
				return syscall.EIO
			}
			return nil
		})
		mem, dirs := vfs.NewCrashableMem(), []string{t.TempDir(), t.TempDir()}
		begin := func(i int, fs vfs.FS) (*host.Runtime, *store.Store, *hosttest.Mesh) {
			mesh, err := net.Join(keys[i])
			if err != nil {
				t.Fatal(err)
			}
			s := openStore(t, dirs[i], fs)
			return quietHost(t, s, host.Options{Node: keys[i], Mesh: mesh}), s, mesh
		}
		target, targetStore, _ := begin(1, vfs.NewMem())
		source, sourceStore, mesh := begin(0, errorfs.Wrap(mem, inj))
		d, err := source.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		m, err := source.StartMigration(ctx, d.Entity, keys[1].ID().Node())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx); err == nil {
			t.Fatal("the migration succeeded on a broken disk")
		}
		if i := stateOf(t, source, d); i.State != "failed" {
			t.Errorf("the source serves, in doubt: %+v", i)
		}
		if len(target.Migrations().Arriving()) != 1 {
			t.Fatal("the target let go of the daemon")
		}
		cfg := vfs.CrashCloneCfg{}
		if there {
			cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
		}
		left := mem.CrashClone(cfg)
		mesh.Crash()
		if err := errors.Join(source.Shutdown(ctx), sourceStore.Close()); err != nil {
			t.Log("ending the poisoned source:", err)
		}
		broken.Store(false)
		source, sourceStore, _ = begin(0, left)
		waitFor(t, "owner", func() bool {
			return len(target.Migrations().Arriving()) == 0 && target.DaemonCount()+source.DaemonCount() == 1
		})
		owner := source
		if target.DaemonCount() == 1 {
			owner = target
		}
		if res, err := owner.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil || string(res.Outputs[0].Payload) != "2" {
			t.Errorf("%+v, %v", res, err)
		}
		if there != (owner == target) {
			t.Errorf("the release was on disk: %v; the target owns it: %v", there, owner == target)
		}
		if err := errors.Join(source.Shutdown(ctx), target.Shutdown(ctx), sourceStore.Close(), targetStore.Close()); err != nil {
			t.Error(err)
		}
	}
}

// fullDisk refuses writes while full is set.
type fullDisk struct {
	*vfs.MemFS
	full *sync.Map
}

func (d fullDisk) Create(n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(n, c)
	return fullFile{f, d}, err
}

func (d fullDisk) ReuseForWrite(o, n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.ReuseForWrite(o, n, c)
	return fullFile{f, d}, err
}

func (d fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

type fullFile struct {
	vfs.File
	d fullDisk
}

func (f fullFile) Write(b []byte) (int, error) {
	if _, full := f.d.full.Load("full"); full {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// The disk runs full under load, without a warning, again and again: senders
// are told so, the host can be read, and it goes on where the disk stands, with
// each event applied once.
func TestFullDiskUnderLoad(t *testing.T) {
	full := &sync.Map{}
	s := openStore(t, t.TempDir(), fullDisk{vfs.NewMem(), full})
	r := quietHost(t, s, host.Options{Limits: daemon.Limits{SnapshotEvents: 7}})
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const senders, events = 6, 300
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen, refused := make(map[string]string), 0
	for i := range senders {
		id := newKey(t).ID()
		wg.Go(func() {
			again := time.NewTicker(time.Millisecond) // who is refused comes back a little later
			defer again.Stop()
			for n := uint64(1); n <= events; {
				res, err := r.Deliver(limit, d.Entity, daemon.Event{Sender: id, Number: n, Payload: []byte("x")})
				mu.Lock()
				switch {
				case errors.Is(err, store.ErrNoSpace) || errors.Is(err, store.ErrRefused):
					refused++
				case err != nil || len(res.Outputs) != 1:
					t.Errorf("sender %d, event %d: %+v, %v", i, n, res, err)
					n = events + 1
				default:
					who, out := fmt.Sprint(i, "-", n), string(res.Outputs[0].Payload)
					if other, ok := seen[out]; ok {
						t.Errorf("%s and %s are answered alike", who, other)
					}
					seen[out] = who
					n++
				}
				mu.Unlock()
				if err != nil {
					<-again.C
				}
			}
		})
	}
	for range 5 {
		had := func() int { mu.Lock(); defer mu.Unlock(); return refused }
		before := had()
		full.Store("full", true)
		waitFor(t, "refusal", func() bool { return had() > before })
		if i := stateOf(t, r, d); i.State == "failed" || i.State == "diverged" {
			t.Errorf("while the disk is full: %+v", i)
		}
		full.Delete("full")
		waitFor(t, "store that goes on", func() bool { return s.Err() == nil })
	}
	wg.Wait()
	if len(seen) != senders*events || refused == 0 {
		t.Errorf("%d of %d events, %d refusals", len(seen), senders*events, refused)
	}
	var file bytes.Buffer
	if err := r.Outputs().Export(ctx, d.Entity, &file); err != nil {
		t.Fatal(err)
	}
	if rep, err := chain.Verify(&file); err != nil || rep.Outputs != senders*events {
		t.Errorf("%+v, %v", rep, err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}
