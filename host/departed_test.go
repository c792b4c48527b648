package host_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

func movedDaemons(t *testing.T, rt *host.Runtime) []daemon.Moved {
	t.Helper()
	list, err := rt.Places().Moved()
	if err != nil {
		t.Error(err)
	}
	return list
}

// spawnAgain spawns a daemon of the identity, sends it an event and stops it.
func spawnAgain(t *testing.T, r *host.Runtime, key *identity.KeyPair) (epoch uint64) {
	t.Helper()
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Identity: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	return d.Epoch
}

// An identity that is given again goes on above every epoch that it had, in this life
// of the node and in each later one.
func TestAnIdentityGoesOnAboveItsPast(t *testing.T) {
	fs, node, key := vfs.NewMem(), newKey(t), newKey(t)
	for life := range uint64(3) {
		s := openStore(t, "data", fs)
		r := quietHost(t, s, host.Options{Node: node})
		for n := range uint64(2) {
			if epoch := spawnAgain(t, r, key); epoch != 2*life+n+1 {
				t.Errorf("life %d: it was spawned under epoch %d, want %d", life, epoch, 2*life+n+1)
			}
		}
		if seen, err := r.Evidence().Sight(key.ID()); err != nil || seen.Stopped != 2*life+2 {
			t.Errorf("life %d: it is seen as %+v, %v", life, seen, err)
		}
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Daemons().Inspect(key.ID()); !errors.Is(err, daemon.ErrShuttingDown) {
			t.Errorf("once the store is closed: %v", err)
		}
	}
}

// A spawn that the node's end overtakes may have signed under its epoch.
func TestASpawnThatIsAbandonedIsNotForgotten(t *testing.T) {
	fs, node, key := vfs.NewMem(), newKey(t), newKey(t)
	s := openStore(t, "data", fs)
	r := quietHost(t, s, host.Options{Node: node})
	first := spawnAgain(t, r, key)
	ended := make(chan error, 1)
	err := r.RegisterFactory("late", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		go func() { ended <- r.Shutdown(ctx) }()
		waitFor(t, "end of the runtime", func() bool { return r.Ready() != nil })
		return &native{}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "late", Identity: key}); !errors.Is(err, daemon.ErrShuttingDown) {
		t.Fatalf("a spawn that the end overtakes: %v", err)
	}
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, "data", fs)
	r = quietHost(t, s, host.Options{Node: node})
	if epoch := spawnAgain(t, r, key); epoch <= first+1 {
		t.Errorf("after epochs %d and %d it is spawned under %d", first, first+1, epoch)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// A node without a store holds so many tombstones and no more. An identity whose
// tombstone it lost goes on above its past all the same.
func TestMemoryHoldsSoManyTombstones(t *testing.T) {
	r := quietHost(t, nil, host.Options{})
	r.HoldsOf(4)
	key := newKey(t)
	for range 3 {
		spawnAgain(t, r, key)
	}
	for range 2 * 4 {
		if epoch := spawnAgain(t, r, newKey(t)); epoch != 1 && epoch != 4 {
			t.Errorf("another identity begins under epoch %d", epoch)
		}
	}
	if seen, err := r.Evidence().Sight(key.ID()); err != nil || seen.Stopped != 0 {
		t.Errorf("its tombstone is there: %+v, %v", seen, err)
	}
	if epoch := spawnAgain(t, r, key); epoch <= 3 {
		t.Errorf("an identity that was stopped under epoch 3 is spawned under %d", epoch)
	}
	if d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); err != nil || d.Epoch != 1 {
		t.Errorf("one of a fresh identity: %+v, %v", d, err)
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// What must not be forgotten takes little: 64 bytes with its key.
func TestATombstoneIsSmall(t *testing.T) {
	s := openStore(t, "data", vfs.NewMem())
	r := quietHost(t, s, host.Options{})
	spawnAgain(t, r, newKey(t))
	if err := s.Scan(store.Moved, func(k, v []byte) error {
		if len(k)+len(v) > 64 {
			t.Errorf("%d bytes under a key of %d", len(v), len(k))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// leave moves daemons from a, which has a disk, to b; all but the last stay there.
func leave(t *testing.T, a, b *node) (gone []daemon.Info, back daemon.Info) {
	t.Helper()
	a.push("counter", "c/counter.wasm")
	for i := range 4 {
		d := a.spawn("counter", fmt.Sprint("gone-", i))
		a.wantSend(d.Entity, "x", "1")
		a.migrate(d.Entity, b)
		gone = append(gone, d)
	}
	back = gone[3]
	b.migrate(back.Entity, a)
	return gone[:3], back
}

// Daemons that moved away are found by all that names them: at once, after a start, by
// the index and without it, and on a directory whose index another version left
// incomplete or wrong.
func TestThoseThatMovedAwayAreFound(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a, b := start(t, &net, key, dir, nil), start(t, &net, newKey(t), "", nil)
	gone, back := leave(t, a, b)
	net.Settle()
	found := func(when string) {
		t.Helper()
		for _, d := range gone {
			for _, ref := range []string{d.Name, d.Entity.Origin().String(), "id:" + d.Entity.Origin().String(), d.Entity.String()} {
				if id, err := a.Daemons().Resolve(ref); err != nil || id != d.Entity {
					t.Errorf("%s, %q is %s, %v", when, ref, id.Origin(), err)
				}
			}
			for _, begin := range []string{d.Entity.Origin().String()[:9], d.Entity.String()[:11], d.Entity.String()[:40]} {
				if ids, err := a.Daemons().BegunBy(begin); err != nil || len(ids) != 1 || ids[0] != d.Entity {
					t.Errorf("%s, %q begins %v, %v", when, begin, ids, err)
				}
			}
			var moved *daemon.MovedError
			if _, err := a.Daemons().Inspect(d.Entity); !errors.As(err, &moved) || moved.Node != b.Self() || moved.Epoch != 2 {
				t.Errorf("%s, daemon %s: %v", when, d.Name, err)
			}
		}
		if id, err := a.Daemons().Resolve(back.Name); err != nil || id != back.Entity {
			t.Errorf("%s, the one that came back is %s, %v", when, id.Origin(), err)
		}
		if _, err := a.Daemons().Resolve("nobody"); !errors.Is(err, daemon.ErrNotFound) {
			t.Errorf("%s, a name that nobody has: %v", when, err)
		}
		if list := movedDaemons(t, a.Runtime); len(list) != len(gone) {
			t.Errorf("%s, %d left", when, len(list))
		}
	}
	found("at once")
	entries := func() (n int) {
		if err := a.store.Scan(store.Departed, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := entries(); n != 2*len(gone) {
		t.Errorf("the index has %d entries", n)
	}
	for name, change := range map[string]func(*store.Batch){
		"as it was":  func(*store.Batch) {},
		"incomplete": func(b *store.Batch) { b.DeleteUnder(store.Departed, []byte{'n'}) },
		"wrong":      func(b *store.Batch) { b.Put(store.Departed, append([]byte{'o'}, make([]byte, 16)...), nil) },
		"missing":    func(b *store.Batch) { b.DeleteRange(store.Departed, []byte{0}, []byte{0xff}) },
	} {
		var changed store.Batch
		change(&changed)
		if err := a.store.Commit(&changed); err != nil {
			t.Fatal(err)
		}
		a.stop()
		a = start(t, &net, key, dir, nil)
		found(name + ", after a start")
		if err := a.CheckIndex(); err != nil || !a.IndexFits() {
			t.Errorf("the index, %s: %v", name, err)
		}
		found(name + ", by the index")
		if n := entries(); n != 2*len(gone) {
			t.Errorf("%s, the index has %d entries", name, n)
		}
	}
}

// Last words and receipts are kept of those that left last, and of those that are here.
func TestOldReceiptsAreLetGoOf(t *testing.T) {
	var net hosttest.Net
	clock := &shiftedClock{}
	a, b := start(t, &net, newKey(t), t.TempDir(), func(o *host.Options) { o.Clock = clock.now }), start(t, &net, newKey(t), "", nil)
	gone, back := leave(t, a, b)
	net.Settle()
	kept := func(d daemon.Info) bool {
		t.Helper()
		list, err := a.Evidence().Receipts(d.Entity)
		if err != nil {
			t.Error(err)
		}
		_, err = a.store.Get(store.Witnesses, d.Entity[:])
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		if (err == nil) != (len(list) > 0) && d.Entity != back.Entity {
			t.Errorf("of %s there are %d receipts, and its last word: %v", d.Name, len(list), err)
		}
		return len(list) > 0
	}
	for most := 3; most >= 1; most-- {
		if err := a.Remembers(most); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, d := range gone {
			if kept(d) {
				n++
			}
		}
		if n != most || !kept(back) {
			t.Errorf("receipts are kept of %d that left, want %d; of the one that is here: %v", n, most, kept(back))
		}
	}
	clock.by.Store(int64(91 * 24 * time.Hour))
	if err := a.Remembers(1); err != nil {
		t.Fatal(err)
	}
	for _, d := range gone {
		if kept(d) {
			t.Errorf("after 91 days there are receipts of %s", d.Name)
		}
		if _, err := a.Daemons().Inspect(d.Entity); !errors.As(err, new(*daemon.MovedError)) {
			t.Errorf("where it went is forgotten: %v", err)
		}
	}
	if len(gone) == 0 || !kept(back) {
		t.Error("there are no receipts of the one that is here")
	}
	a.wantSend(back.Entity, "x", "2")
	a.migrate(back.Entity, b) // its receipts go with it
	if list, err := b.Evidence().Receipts(back.Entity); err != nil || len(list) != 3 {
		t.Errorf("the next node has %d receipts, %v", len(list), err)
	}
}

// A tombstone that cannot be read is not taken for none: its identity goes on nowhere,
// and all others do.
func TestADamagedTombstoneIsNotTakenForNone(t *testing.T) {
	s := openStore(t, "data", vfs.NewMem())
	r := quietHost(t, s, host.Options{})
	key := newKey(t)
	id := key.ID()
	none, err := canon.Marshal([]any{"", r.Self(), uint64(0), int64(1), true})
	if err != nil {
		t.Fatal(err)
	}
	for what, value := range map[string][]byte{"no record": {0xff}, "no epoch": none} {
		var b store.Batch
		b.Put(store.Moved, id[:], value)
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Identity: key}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: a spawn of that identity: %v", what, err)
		}
		if _, err := r.Daemons().Inspect(id); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		spawnAgain(t, r, newKey(t))
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
}
