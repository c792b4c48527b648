package host_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// moduleHost is a runtime on the disk with a kind of a module.
func moduleHost(t *testing.T, dir string, fs vfs.FS, file string, o host.Options) (*host.Runtime, *store.Store) {
	t.Helper()
	s := openStore(t, dir, fs)
	r := quietHost(t, s, o)
	if _, err := r.Kinds().Get("k"); err != nil {
		if _, err := r.Kinds().Push(ctx, "k", guest(t, file)); err != nil {
			t.Fatal(err)
		}
	}
	return r, s
}

// parts returns where the stored parts of the daemon's state stand: the
// snapshot's index, and those of the deltas behind it.
func parts(t *testing.T, s *store.Store, id identity.EntityID) (whole uint64, deltas []uint64) {
	t.Helper()
	if err := s.Commit(&store.Batch{}); err != nil { // what was submitted before is there
		t.Fatal(err)
	}
	v, err := s.Get(store.Snapshots, id[:])
	if err != nil {
		t.Fatal(err)
	}
	err = s.ScanPrefix(store.Deltas, id[:], func(k, v []byte) error {
		if int(binary.BigEndian.Uint32(k[len(id):])) != len(deltas) {
			t.Errorf("delta %x stands at place %d", k, len(deltas))
		}
		deltas = append(deltas, binary.BigEndian.Uint64(v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint64(v), deltas
}

// A host is killed after every few events, whatever it had stored by then: each
// life goes on where the last one was, from a snapshot and at most eight deltas,
// and replays no more than what came since.
func TestDeltasAcrossKills(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	for _, file := range []string{"c/wordcount.wasm", "rust/wordcount.wasm"} {
		t.Run(file, func(t *testing.T) {
			const every = 3
			key, sender, dir := newKey(t), newKey(t).ID(), t.TempDir()
			o := host.Options{Node: key, Limits: daemon.Limits{SnapshotEvents: every}}
			disk := vfs.NewCrashableMem()
			r, s := moduleHost(t, dir, disk, file, o)
			alone := quietHost(t, nil, host.Options{Node: key})
			if _, err := alone.Kinds().Push(ctx, "k", guest(t, file)); err != nil {
				t.Fatal(err)
			}
			d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k", Name: "d", Identity: newKey(t)})
			if err != nil {
				t.Fatal(err)
			}
			twin, err := alone.Spawn(ctx, daemon.SpawnRequest{Kind: "k", Name: "d"})
			if err != nil {
				t.Fatal(err)
			}
			rng, most, life := rand.New(rand.NewPCG(5, 6)), 0, 0
			for n := uint64(1); n <= 120; n++ {
				payload := []byte(strings.Repeat(fmt.Sprintf("w%d ", rng.IntN(400)), 1+rng.IntN(3)))
				switch {
				case n < 8: // so that there is more state than changes
					payload = []byte(manyWords(rng))
				case rng.IntN(5) == 0:
					payload = []byte("?totals")
				}
				ev := daemon.Event{Sender: sender, Number: n, Payload: payload}
				res, err := r.Deliver(ctx, d.Entity, ev)
				want, err2 := alone.Deliver(ctx, twin.Entity, ev)
				if err = errors.Join(err, err2); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(texts(res)) != fmt.Sprint(texts(want)) {
					t.Fatalf("event %d, in life %d: %q, and %q where nobody is killed", n, life, texts(res), texts(want))
				}
				if life++; rng.IntN(2) > 0 {
					continue
				}
				left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng})
				if n > every {
					whole, deltas := parts(t, s, d.Entity)
					last := whole
					for _, at := range deltas {
						if at < last {
							t.Fatalf("deltas at %v behind a snapshot at %d", deltas, whole)
						}
						last = at
					}
					if most = max(most, len(deltas)); most > 8 {
						t.Fatalf("%d deltas", most)
					}
					if end, err := s.HistoryEnd(d.Entity); err != nil || end-last > every {
						t.Fatalf("after event %d: %d records to replay, %v", n, end-last, err)
					}
				}
				if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
					t.Fatal(err)
				}
				disk = left
				r, s = moduleHost(t, dir, disk, file, o)
			}
			if most < 2 {
				t.Errorf("never more than %d deltas", most)
			}
			if err := errors.Join(r.Shutdown(ctx), s.Close(), alone.Shutdown(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
}

// manyWords are such that a guest that keeps them has much state, however it is
// compressed.
func manyWords(rng *rand.Rand) string {
	var b strings.Builder
	for range 300 {
		fmt.Fprintf(&b, "%c%x ", 'a'+rune(rng.IntN(26)), rng.Uint64())
	}
	return b.String()
}

func texts(r daemon.Result) (out []string) {
	for _, o := range r.Outputs {
		out = append(out, string(o.Payload))
	}
	return out
}

// A delta that is not what was written is found out: the daemon is replayed
// from the part before, and answers as if nothing were amiss.
func TestDamagedDeltas(t *testing.T) {
	const file = "c/wordcount.wasm"
	key, dir, disk := newKey(t), t.TempDir(), vfs.NewMem()
	o := host.Options{Node: key, Limits: daemon.Limits{SnapshotEvents: 2}}
	r, s := moduleHost(t, dir, disk, file, o)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	say := func(r *host.Runtime, what string) string {
		t.Helper()
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(what)})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(texts(res))
	}
	for i := range 11 {
		if i < 4 {
			say(r, manyWords(rng))
		}
		say(r, "a b")
	}
	var want string
	for i, damage := range []func(b *store.Batch, k string, v []byte){
		func(b *store.Batch, k string, v []byte) { v[len(v)-1]++; b.Put(store.Deltas, []byte(k), v) },
		func(b *store.Batch, k string, v []byte) { v[9]++; b.Put(store.Deltas, []byte(k), v) },
		func(b *store.Batch, k string, v []byte) { b.Put(store.Deltas, []byte(k), nil) },
		func(b *store.Batch, k string, _ []byte) { b.Delete(store.Deltas, []byte(k)) },
		func(b *store.Batch, k string, v []byte) { v[0] = 0xff; b.Put(store.Deltas, []byte(k), v) },
	} {
		var deltas []uint64
		for try := 0; len(deltas) < 2; try++ {
			if try > 20 {
				t.Fatalf("%d: only deltas %v", i, deltas)
			}
			say(r, "a b")
			want = say(r, "?totals")
			_, deltas = parts(t, s, d.Entity)
		}
		k := string(binary.BigEndian.AppendUint32(bytes.Clone(d.Entity[:]), uint32(i%2)))
		v, err := s.Get(store.Deltas, []byte(k))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		b := &store.Batch{}
		damage(b, k, v)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		r = quietHost(t, s, o)
		if got := say(r, "?totals"); got != want {
			t.Errorf("damage %d: %s, not %s; %+v", i, got, want, stateOf(t, r, d))
		}
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// State is stored after so many bytes, and after so long, whether events come
// or not.
func TestStateIsStoredAfterBytesAndTime(t *testing.T) {
	var later atomic.Int64
	began := time.Now()
	clock := func() time.Time { return began.Add(time.Duration(later.Load())) }
	s := openStore(t, t.TempDir(), vfs.NewMem())
	r := quietHost(t, s, host.Options{Clock: clock, PassivateAfter: 24 * time.Hour, Limits: daemon.Limits{SnapshotInterval: time.Hour}})
	if _, err := r.Kinds().PushWith(ctx, "k", guest(t, "c/counter.wasm"), daemon.Limits{SnapshotBytes: 10_000}); err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k"})
	if err != nil {
		t.Fatal(err)
	}
	send := func(size int) {
		t.Helper()
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	stands := func() uint64 { // at which record the stored state stands
		t.Helper()
		if err := s.Commit(&store.Batch{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(store.Snapshots, d.Entity[:]); errors.Is(err, store.ErrNotFound) {
			return 0
		}
		whole, deltas := parts(t, s, d.Entity)
		return append([]uint64{whole}, deltas...)[len(deltas)]
	}
	for _, step := range []struct {
		wait  time.Duration
		bytes int    // of the event that comes then; 0: none comes
		want  uint64 // where the stored state stands then
	}{{0, 5000, 0}, {0, 5000, 4}, {0, 1, 4}, {59 * time.Minute, 1, 4}, {time.Minute, 1, 7}, {0, 1, 7}, {time.Hour, 0, 8}, {24 * time.Hour, 0, 8}} {
		later.Add(int64(step.wait))
		if step.bytes > 0 {
			send(step.bytes)
		} else {
			r.PutIdleAway()
		}
		if got := stands(); got != step.want {
			t.Fatalf("%+v: stored at %d", step, got)
		}
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// A daemon that keeps a part of its history lets go of the rest: what is left
// is proven from where it begins, repeats are answered, and it moves.
func TestHistoryIsLetGo(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	const keep, events = 70_000, 110_000
	key, sender, dir, disk := newKey(t), newKey(t).ID(), t.TempDir(), vfs.NewMem()
	s := openStore(t, dir, disk)
	r := quietHost(t, s, host.Options{Node: key})
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d", Limits: daemon.Limits{History: keep}})
	if err != nil {
		t.Fatal(err)
	}
	var last *pending.Event
	for n := uint64(1); n <= events; n++ {
		if last, err = r.Submit(ctx, d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := last.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	first := func() (first uint64) {
		t.Helper()
		err := s.ReadHistory(d.Entity, 0, ^uint64(0), func(i uint64, _ []byte) error { first = i; return store.ErrStop })
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	n := uint64(events)
	send := func(r *host.Runtime) daemon.Result {
		t.Helper()
		n++
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
		if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(n) {
			t.Fatalf("event %d: %+v, %v", n, res, err)
		}
		return res
	}
	waitFor(t, "shorter history", func() bool { send(r); return first() > 0 })
	end, err := s.HistoryEnd(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if left := end - first(); left < keep || left > keep+keep/2 {
		t.Errorf("%d records are left", left)
	}
	check := func(r *host.Runtime) {
		t.Helper()
		var file bytes.Buffer
		if err := r.Outputs().Export(ctx, d.Entity, &file); err != nil {
			t.Fatal(err)
		}
		rep, err := chain.Verify(&file)
		if err != nil || rep.Last != n || rep.First < 2 || rep.Outputs != rep.Last-rep.First+1 || rep.Outputs < keep-100 {
			t.Errorf("%+v, %v", rep, err)
		}
		old := n - 60_000
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: old, Payload: []byte("x")})
		if err != nil || !res.Duplicate || string(res.Outputs[0].Payload) != fmt.Sprint(old) {
			t.Errorf("a repeat: %+v, %v", res, err)
		}
		if _, err := r.Outputs().TailAfter(ctx, d.Entity, 1); !errors.Is(err, daemon.ErrNoHistory) {
			t.Errorf("outputs that are not kept: %v", err)
		}
	}
	check(r)
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	var net hosttest.Net
	other := newKey(t)
	mesh, err := net.Join(key)
	there, err2 := net.Join(other)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, disk)
	r = quietHost(t, s, host.Options{Node: key, Mesh: mesh})
	send(r)
	check(r)
	s2 := openStore(t, t.TempDir(), vfs.NewMem())
	r2 := quietHost(t, s2, host.Options{Node: other, Mesh: there})
	m, err := r.StartMigration(ctx, d.Entity, other.ID().Node())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	send(r2)
	check(r2)
	if err := errors.Join(r.Shutdown(ctx), r2.Shutdown(ctx), s.Close(), s2.Close()); err != nil {
		t.Error(err)
	}
}

// The deltas of a large memory are small, and bring it back as it was, also those
// that take many blocks.
func TestDeltasOfLargeMemories(t *testing.T) {
	key, dir, disk := newKey(t), t.TempDir(), vfs.NewMem()
	o := host.Options{Node: key, CacheDir: t.TempDir(), Limits: daemon.Limits{SnapshotEvents: 2}}
	r, s := moduleHost(t, dir, disk, "c/heap.wasm", o)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k", Name: "h"})
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		t.Helper()
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	state := func() *snapshot.Snapshot {
		t.Helper()
		snap, err := r.Snapshot(ctx, d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	say("r 4") // 4 MiB that do not compress
	say("w 1")
	parts(t, s, d.Entity) // waits until what was submitted is there
	const whole = 4 << 20
	for i, words := range []string{"w 3", "w 300", "w 3"} {
		say(words)
		say(words)
		if _, deltas := parts(t, s, d.Entity); len(deltas) != i+1 {
			t.Fatalf("after %q deltas at %v", words, deltas)
		}
		v, err := s.Get(store.Deltas, binary.BigEndian.AppendUint32(bytes.Clone(d.Entity[:]), uint32(i)))
		if err != nil || words == "w 3" && len(v) > whole/20 {
			t.Errorf("delta %d has %d bytes, the whole state %d, %v", i, len(v), whole, err)
		}
		before := state()
		if err := s.Commit(&store.Batch{}); err != nil {
			t.Fatal(err)
		}
		crashed := vfs.NewMem()
		if ok, err := vfs.Clone(disk, crashed, dir, dir, vfs.CloneSync); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Fatal(err)
		}
		disk = crashed
		r, s = moduleHost(t, dir, disk, "c/heap.wasm", o)
		if after := state(); !bytes.Equal(after.State, before.State) {
			t.Errorf("after %d deltas the state has %d bytes, before the restart %d", i+1, len(after.State), len(before.State))
		}
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// Whatever is stored where a delta should be is one that follows from the
// snapshot, or ErrCorrupt.
func FuzzStoredDelta(f *testing.F) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		f.Fatal(err)
	}
	r, err := host.New(ctx, host.Options{Store: s, Limits: daemon.Limits{SnapshotEvents: 1}})
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		f.Fatal(err)
	}
	if _, err := r.Kinds().Push(ctx, "k", guest(f, "c/counter.wasm")); err != nil {
		f.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k"})
	if err != nil {
		f.Fatal(err)
	}
	for range 2 {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
			f.Fatal(err)
		}
	}
	var delta []byte
	err = s.Commit(&store.Batch{})
	whole, err2 := s.Get(store.Snapshots, d.Entity[:])
	err3 := s.ScanPrefix(store.Deltas, d.Entity[:], func(_, v []byte) error { delta = bytes.Clone(v); return nil })
	if err := errors.Join(err, err2, err3); err != nil {
		f.Fatal(err)
	}
	base, err := host.StoredDigest(d.Entity, whole)
	if err != nil {
		f.Fatal(err)
	}
	if err := host.ReadDelta(d.Entity, base, delta); err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(delta)
	f.Add(whole)
	f.Add(delta[:9])
	f.Fuzz(func(t *testing.T, value []byte) {
		if err := host.ReadDelta(d.Entity, base, value); err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Error(err)
		}
	})
}
