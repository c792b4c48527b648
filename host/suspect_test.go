package host_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// forked are nodes of which b has daemon d, which it got from a after three
// events, and c has what was restored from a snapshot of it: one identity, at one
// epoch, with two histories. a and c are on disk.
type forked struct {
	t          *testing.T
	net        hosttest.Net
	a, b, c    *node
	d          identity.EntityID
	key        *identity.KeyPair
	keyOfA     *identity.KeyPair
	first      []byte // the snapshot
	ofB, ofC   []byte // the two chains
	aDirectory string
}

func fork(t *testing.T) *forked {
	t.Helper()
	f := &forked{t: t, key: newKey(t), keyOfA: newKey(t), aDirectory: t.TempDir()}
	f.a, f.b, f.c = start(t, &f.net, f.keyOfA, f.aDirectory, nil), start(t, &f.net, newKey(t), "", nil), start(t, &f.net, newKey(t), "", nil)
	for _, n := range []*node{f.a, f.b, f.c} {
		n.push("counter", "c/counter.wasm")
	}
	f.d = f.a.spawnAs("counter", f.key).Entity
	f.a.wantSend(f.d, "x", "1")
	f.first = f.a.saved(f.d)
	f.a.wantSend(f.d, "x", "2")
	f.a.wantSend(f.d, "x", "3")
	if err := f.a.moveWith(f.d, f.b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	f.b.wantSend(f.d, "x", "4")
	if _, err := f.c.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: f.key}, f.first); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2", "3", "4", "5"} {
		f.c.wantSend(f.d, "y", want)
	}
	f.ofB, f.ofC = f.b.chain(f.d), f.c.chain(f.d)
	return f
}

func (n *node) saved(id identity.EntityID) []byte {
	n.t.Helper()
	s, err := n.Snapshot(ctx, id)
	if err != nil {
		n.t.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}

func (f *forked) proof() *chain.Equivocation {
	f.t.Helper()
	e, err := chain.ProveEquivocation(bytes.NewReader(f.ofB), bytes.NewReader(f.ofC))
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// refuses checks that the node does nothing in the identity's name.
func (n *node) refuses(f *forked, present bool) {
	n.t.Helper()
	var e *chain.EquivocationError
	if present {
		if _, err := n.Deliver(ctx, f.d, daemon.Event{}); !errors.As(err, &e) || e.Conflict.Entity != f.d {
			n.t.Errorf("an event: %v", err)
		}
		if i := n.mustInspect(f.d); i.State != "refused" || i.Reason == "" {
			n.t.Errorf("%+v", i)
		}
	} else {
		if _, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "other", Identity: f.key}); !errors.Is(err, chain.ErrEquivocated) {
			n.t.Errorf("spawning: %v", err)
		}
		if _, err := n.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Name: "other", Identity: f.key}, f.first); !errors.Is(err, chain.ErrEquivocated) {
			n.t.Errorf("restoring: %v", err)
		}
	}
	if all := n.Evidence().Accusations(); len(all) != 1 || all[0].Entity != f.d || !all[0].Pardoned.IsZero() {
		n.t.Errorf("on record: %+v", all)
	}
}

// A copy that comes to the node which handed the daemon on is found out there, and
// the node refuses the identity, after a restart too, until it is pardoned.
func TestCopyThatMovesBackIsFoundOut(t *testing.T) {
	f := fork(t)
	if err := f.c.moveWith(f.d, f.a.Self(), host.MigrationOptions{}); !errors.Is(err, &migration.Error{Code: migration.Equivocated}) {
		t.Fatalf("the copy's move: %v", err)
	}
	f.c.wantSend(f.d, "y", "6") // it serves where it was: that node knows nothing
	f.a.refuses(f, false)
	proof, err := f.a.Evidence().Proof(f.d)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := proof.Verify(); err != nil || c.Epoch != 2 || c.Sequence != 3 { // as of the hand-over
		t.Errorf("%+v, %v", c, err)
	}
	f.a.stop()
	f.a = start(t, &f.net, f.keyOfA, f.aDirectory, nil)
	f.a.refuses(f, false)
	if err := f.b.moveWith(f.d, f.a.Self(), host.MigrationOptions{}); !errors.Is(err, &migration.Error{Code: migration.Equivocated}) {
		t.Errorf("nor the other: %v", err)
	}
	f.b.wantSend(f.d, "x", "5")
	if _, err := f.a.Evidence().Pardon(ctx, newKey(t).ID()); !errors.Is(err, daemon.ErrNotAccused) {
		t.Error(err)
	}
	if _, err := f.a.Evidence().Pardon(ctx, f.d); err != nil {
		t.Fatal(err)
	}
	if _, err := f.a.Evidence().Pardon(ctx, f.d); !errors.Is(err, daemon.ErrNotAccused) {
		t.Error(err)
	}
	f.a.stop()
	f.a = start(t, &f.net, f.keyOfA, f.aDirectory, nil)
	if all := f.a.Evidence().Accusations(); len(all) != 1 || all[0].Pardoned.IsZero() || !all[0].Found {
		t.Errorf("%+v", all)
	}
	if err := f.b.moveWith(f.d, f.a.Self(), host.MigrationOptions{}); err != nil { // the operator has decided, for this one
		t.Fatal(err)
	}
	f.a.wantSend(f.d, "x", "6")
}

// A proof that an operator brings counts as much.
func TestAccused(t *testing.T) {
	f := fork(t)
	proof := f.proof()
	if a, err := f.b.Evidence().Accuse(ctx, proof); err != nil || a.Found || a.Epoch != 2 || a.Sequence != 4 { // where least is to be shown
		t.Fatalf("%+v, %v", a, err)
	}
	f.b.refuses(f, true)
	if _, err := f.b.Evidence().Pardon(ctx, f.d); err != nil {
		t.Fatal(err)
	}
	f.b.wantSend(f.d, "x", "5")
	if _, err := f.b.Evidence().Accuse(ctx, proof); err != nil { // said again it counts again
		t.Fatal(err)
	}
	f.b.refuses(f, true)
	if _, err := f.b.Evidence().Find(f.d.Origin().String()[:6]); !errors.Is(err, daemon.ErrNotAccused) {
		t.Errorf("by the beginning of its origin: %v, want ErrNotAccused", err)
	}
	if id, err := f.b.Evidence().BegunBy(f.d.Origin().String()[:6]); err != nil || id != f.d {
		t.Errorf("looking by the beginning of its origin: %v, %v", id, err)
	}
	if id, err := f.b.Evidence().Find(f.d.Origin().String()); err != nil || id != f.d {
		t.Errorf("%s, %v", id, err)
	}
	if _, err := f.b.Evidence().Find("nobody"); !errors.Is(err, daemon.ErrNotAccused) {
		t.Error(err)
	}
	proof.Statements[0].Checkpoint.Signature[3] ^= 1
	if _, err := f.a.Evidence().Accuse(ctx, proof); !errors.Is(err, identity.ErrInvalidSignature) || len(f.a.Evidence().Accusations()) != 0 {
		t.Errorf("a forged proof: %v", err)
	}
}

// A snapshot of the copy is found out where the daemon is, and where it was.
func TestSnapshotOfTheCopyIsFoundOut(t *testing.T) {
	f := fork(t)
	f.b.wantSend(f.d, "x", "5") // so that both have an output 5 of epoch 2
	snap := f.c.saved(f.d)
	if _, err := f.b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Name: "copy", Identity: f.key}, snap); !errors.Is(err, chain.ErrEquivocated) {
		t.Errorf("beside the daemon: %v", err)
	}
	f.b.refuses(f, true)
	if _, err := f.b.Evidence().Pardon(ctx, f.d); err != nil {
		t.Fatal(err)
	}
	// What is pardoned is not found again.
	if _, err := f.b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Name: "copy", Identity: f.key}, snap); !errors.Is(err, daemon.ErrAlreadyPresent) {
		t.Error(err)
	}
	if err := f.b.Stop(ctx, f.d); err != nil { // its last word is of output 5
		t.Fatal(err)
	}
	f2 := fork(t)
	f2.b.wantSend(f2.d, "x", "5")
	if err := f2.b.Stop(ctx, f2.d); err != nil {
		t.Fatal(err)
	}
	if _, err := f2.b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: f2.key}, f2.c.saved(f2.d)); !errors.Is(err, chain.ErrEquivocated) {
		t.Errorf("after it was stopped: %v", err)
	}
	f2.b.refuses(f2, false)
}

// Chains of one daemon that can all be true prove nothing.
func TestHonestChainsProveNothing(t *testing.T) {
	f := fork(t)
	early := f.b.chain(f.d)
	if err := f.b.moveWith(f.d, f.a.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	f.a.wantSend(f.d, "x", "5")
	later := f.a.chain(f.d)
	other := f.a.spawn("counter", "other")
	f.a.wantSend(other.Entity, "x", "1")
	for name, pair := range map[string][2][]byte{"one chain": {early, early}, "one goes on": {early, later}, "turned round": {later, early}, "two daemons": {early, f.a.chain(other.Entity)}} {
		if e, err := chain.ProveEquivocation(bytes.NewReader(pair[0]), bytes.NewReader(pair[1])); !errors.Is(err, chain.ErrNoEquivocation) || e != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var broken *chain.Error
	if _, err := chain.ProveEquivocation(bytes.NewReader(early), bytes.NewReader(f.ofC[:len(f.ofC)-9])); !errors.As(err, &broken) {
		t.Errorf("a chain that was cut: %v", err)
	}
	for _, n := range []*node{f.a, f.b} {
		if all := n.Evidence().Accusations(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
	}
}

// What is dropped by a rollback may be known elsewhere, under the epoch that a
// move gave it: what follows is of a higher one.
func TestRollbackBeforeAMoveIsNoEquivocation(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	key, dir, by := newKey(t), t.TempDir(), 0
	factory := daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &drifting{from: 4, by: by}, nil })
	startB := func() *node {
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		r, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh})
		if err == nil {
			err = errors.Join(r.RegisterFactory("n", factory), r.Start(ctx))
		}
		if err != nil {
			t.Fatal(err)
		}
		return &node{Runtime: r, t: t, key: key, mesh: mesh, store: s, dir: dir}
	}
	if err := a.RegisterFactory("n", factory); err != nil {
		t.Fatal(err)
	}
	b := startB()
	d := a.spawnAs("n", nil).Entity
	a.wantSend(d, "x", "1")
	// An event between the snapshot and the hand-over is in the history, and not
	// in what is stored.
	var once sync.Once
	net.Filter = func(from, _ identity.NodeID, m migration.Message) bool {
		if _, ready := m.(*migration.Ready); ready {
			once.Do(func() { a.wantSend(d, "x", "2") })
		}
		return true
	}
	if err := a.moveWith(d, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d, "x", "3")
	b.wantSend(d, "x", "4")
	before := b.chain(d)
	// It ends as a crash ends it, without its state being stored again.
	copied := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b.stop()
	dir, by = copied, 100
	b = startB()
	t.Cleanup(b.stop)
	if i := b.mustInspect(d); i.State != "diverged" {
		t.Fatalf("%+v", i)
	}
	by = 0
	fact, err := b.MendDaemon(ctx, d, chain.MendRollback)
	if err != nil || fact.Epoch != 3 || fact.After != 1 {
		t.Fatalf("%+v, %v", fact, err)
	}
	b.wantSend(d, "y", "2")
	b.wantSend(d, "y", "3")
	b.wantSend(d, "y", "4")
	if e, err := chain.ProveEquivocation(bytes.NewReader(before), bytes.NewReader(b.chain(d))); !errors.Is(err, chain.ErrNoEquivocation) {
		t.Errorf("%+v, %v", e, err)
	}
	if err := b.moveWith(d, a.Self(), host.MigrationOptions{}); err != nil { // which knows what was handed over
		t.Fatal(err)
	}
	a.wantSend(d, "y", "5")
}
