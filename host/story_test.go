package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

var ctx = context.Background()

func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey(t testing.TB) *identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// node is a runtime with its mesh and store.
type node struct {
	*host.Runtime
	t     testing.TB
	key   *identity.KeyPair
	mesh  *hosttest.Mesh
	store *store.Store
	dir   string
}

var compiled string // where the tests share compiled guests

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // the stories here log much
	dir, err := os.MkdirTemp("", "wasmhost")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	compiled = dir
	if err := useCompressors(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// useCompressors has a guest's memory stored and read, outside any bubble: compressors that
// all guests share keep to the bubble in which they are first used.
func useCompressors() error {
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	var net hosttest.Net
	mesh, err := net.Join(key)
	if err != nil {
		return err
	}
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		return err
	}
	r, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh, CacheDir: compiled})
	if err != nil {
		return err
	}
	wasm, err := os.ReadFile("../testdata/wasm/c/counter.wasm")
	if err == nil {
		err = r.Start(ctx)
	}
	if err == nil {
		_, err = r.Kinds().Push(ctx, "counter", wasm)
	}
	if err != nil {
		return err
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	for range 2 {
		if err == nil {
			_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
		}
		if err == nil && !r.Passivate(d.Entity) {
			err = errors.New("the daemon is busy")
		}
	}
	return errors.Join(err, r.Shutdown(ctx), s.Close())
}

// start makes a ready node, on disk when dir is not empty.
func start(t testing.TB, n *hosttest.Net, key *identity.KeyPair, dir string, change func(*host.Options)) *node {
	t.Helper()
	mesh, err := n.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Dir: dir, Ephemeral: dir == ""})
	if err != nil {
		t.Fatal(err)
	}
	o := host.Options{Node: key, Store: s, Mesh: mesh, CacheDir: compiled}
	if change != nil {
		change(&o)
	}
	r, err := host.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	out := &node{Runtime: r, t: t, key: key, mesh: mesh, store: s, dir: dir}
	t.Cleanup(out.stop)
	return out
}

func (n *node) stop() {
	if n.store == nil {
		return
	}
	if err := n.Shutdown(ctx); err != nil {
		n.t.Errorf("shutdown: %v", err)
	}
	if err := n.store.Close(); err != nil {
		n.t.Errorf("closing the store: %v", err)
	}
	n.store = nil
}

func (n *node) push(kind, file string) {
	n.t.Helper()
	if _, err := n.Kinds().Push(ctx, kind, guest(n.t, file)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) spawn(kind, name string) daemon.Info {
	n.t.Helper()
	i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: kind, Name: name})
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}

// send delivers an anonymous event and returns the text of its only output.
func (n *node) send(id identity.EntityID, payload string) string {
	n.t.Helper()
	res, err := n.Deliver(ctx, id, daemon.Event{Payload: []byte(payload)})
	if err != nil {
		n.t.Fatalf("event %q: %v", payload, err)
	}
	if len(res.Outputs) != 1 {
		n.t.Fatalf("event %q: %d outputs", payload, len(res.Outputs))
	}
	return string(res.Outputs[0].Payload)
}

func (n *node) wantSend(id identity.EntityID, payload, want string) {
	n.t.Helper()
	if got := n.send(id, payload); got != want {
		n.t.Fatalf("event %q: got %q, want %q", payload, got, want)
	}
}

func (n *node) migrate(id identity.EntityID, to *node) host.Report {
	n.t.Helper()
	m, err := n.StartMigration(ctx, id, to.Self())
	if err != nil {
		n.t.Fatal(err)
	}
	rep, err := m.Wait(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return rep
}

func (n *node) chain(id identity.EntityID) []byte {
	n.t.Helper()
	var b bytes.Buffer
	if err := n.Outputs().Export(ctx, id, &b); err != nil {
		n.t.Fatal(err)
	}
	return b.Bytes()
}

func TestCounterMovesAndGoesOn(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	for i := 1; i <= 100; i++ {
		a.wantSend(d.Entity, "x", fmt.Sprint(i))
	}
	rep := a.migrate(d.Entity, b)
	if rep.Epoch != 2 || rep.To != b.Self() || len(rep.Phases) != 5 {
		t.Errorf("report %+v", rep)
	}
	var moved *daemon.MovedError
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{}); !errors.As(err, &moved) || moved.Node != b.Self() || moved.Epoch != 2 {
		t.Errorf("the source answers %v, want that it moved", err)
	}
	for i := 101; i <= 120; i++ {
		b.wantSend(d.Entity, "x", fmt.Sprint(i))
	}
	info, err := b.Daemons().Inspect(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if info.Sequence != 120 || info.Epoch != 2 || info.Name != "c1" || info.EventsProcessed != 120 {
		t.Errorf("info %+v", info)
	}
	back := b.migrate(d.Entity, a)
	if back.Epoch != 3 {
		t.Errorf("epoch %d after the way back, want 3", back.Epoch)
	}
	a.wantSend(d.Entity, "x", "121")
	chain, err := chain.Verify(bytes.NewReader(a.chain(d.Entity)))
	if err != nil {
		t.Fatal(err)
	}
	if chain.Outputs != 121 || len(chain.Moves) != 2 || chain.Epoch != 3 || chain.Last != 121 {
		t.Errorf("chain %+v", chain)
	}
}

// Senders keep sending while the daemon moves to and fro; each follows it.
// Nothing is lost, nothing is applied twice, and nobody sees an error.
func TestEventsFollowAMovingDaemon(t *testing.T) {
	var net hosttest.Net
	nodes := map[identity.NodeID]*node{}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	nodes[a.Self()], nodes[b.Self()] = a, b
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	const senders, events = 4, 200
	var wg sync.WaitGroup
	seen := make([][]string, senders)
	for s := range senders {
		key := newKey(t).ID()
		wg.Go(func() {
			at := a
			for n := uint64(1); n <= events; {
				res, err := at.Deliver(ctx, d.Entity, daemon.Event{Sender: key, Number: n, Payload: []byte("x")})
				var moved *daemon.MovedError
				if errors.As(err, &moved) {
					at = nodes[moved.Node]
					continue
				}
				if err != nil || res.Duplicate || len(res.Outputs) != 1 {
					t.Errorf("event %d: %+v, %v", n, res, err)
					return
				}
				seen[s] = append(seen[s], string(res.Outputs[0].Payload))
				n++
			}
		})
	}
	from, to := a, b
	for range 6 {
		from.migrate(d.Entity, to)
		from, to = to, from
	}
	wg.Wait()
	all := make(map[string]bool)
	for _, s := range seen {
		for _, count := range s {
			if all[count] {
				t.Errorf("count %s was given twice", count)
			}
			all[count] = true
		}
	}
	from.wantSend(d.Entity, "x", fmt.Sprint(senders*events+1))
	if len(all) != senders*events {
		t.Errorf("%d counts, want %d", len(all), senders*events)
	}
	if _, err := chain.Verify(bytes.NewReader(from.chain(d.Entity))); err != nil {
		t.Error(err)
	}
}

func TestRestartGoesOnWhereItStopped(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a := start(t, &net, key, dir, nil)
	a.push("counter", "c/counter.wasm")
	a.push("unruly", "c/unruly.wasm")
	c, u := a.spawn("counter", "c"), a.spawn("unruly", "u")
	sender := newKey(t).ID()
	for i := 1; i <= 50; i++ {
		if _, err := a.Deliver(ctx, c.Entity, daemon.Event{Sender: sender, Number: uint64(i), Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i <= 5; i++ {
		a.wantSend(u.Entity, "count", fmt.Sprint(i))
	}
	a.stop()
	a = start(t, &net, key, dir, nil)
	res, err := a.Deliver(ctx, c.Entity, daemon.Event{Sender: sender, Number: 50, Payload: []byte("x")})
	if err != nil || !res.Duplicate || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != "50" {
		t.Errorf("the repeated event: %+v, %v", res, err)
	}
	a.wantSend(c.Entity, "x", "51")
	a.wantSend(u.Entity, "count", "6") // no hooks: replayed from its beginning
	if r, err := chain.Verify(bytes.NewReader(a.chain(c.Entity))); err != nil || r.Outputs != 51 {
		t.Errorf("chain %+v, %v", r, err)
	}
}

// The connection is cut at each message of a migration in turn. Whatever the
// message, exactly one side answers for the daemon afterwards.
func TestCutAtEveryMessage(t *testing.T) {
	kinds := []migration.Message{&migration.Offer{}, &migration.Accept{}, &migration.ModuleChunk{}, &migration.HistoryBatch{}, &migration.SnapshotChunk{},
		&migration.Arrived{}, &migration.Ready{}, &migration.Tail{}, &migration.Prepared{}, &migration.Release{}, &migration.Done{}}
	for _, kind := range kinds {
		name := fmt.Sprintf("%T", kind)
		t.Run(name, func(t *testing.T) {
			cut := false
			var mu sync.Mutex
			net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				if !cut && fmt.Sprintf("%T", m) == name {
					cut = true
					return false
				}
				return true
			}}
			a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
			a.push("counter", "c/counter.wasm")
			d := a.spawn("counter", "c")
			a.wantSend(d.Entity, "x", "1")
			m, err := a.StartMigrationWith(ctx, d.Entity, b.Self(), host.MigrationOptions{})
			if err != nil {
				t.Fatal(err)
			}
			limit, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			owner, other := a, b
			if _, err = m.Wait(limit); err == nil {
				owner, other = b, a
			}
			fails := name == "*migration.Offer" || name == "*migration.Tail" || name == "*migration.Prepared"
			if fails == (err == nil) {
				t.Errorf("cut at %s: %v", name, err)
			}
			if !cut {
				t.Fatal("the message was never sent")
			}
			owner.wantSend(d.Entity, "x", "2")
			if _, err := other.Deliver(ctx, d.Entity, daemon.Event{}); err == nil {
				t.Error("both sides answer")
			}
			if err != nil { // the failed attempt is in nobody's way
				for { // b may hold the daemon until it has heard a
					m, err := a.StartMigration(ctx, d.Entity, b.Self())
					if err != nil {
						t.Fatal(err)
					}
					if _, err = m.Wait(limit); err == nil {
						break
					}
					t.Fatal(err)
				}
				b.wantSend(d.Entity, "x", "3")
			}
		})
	}
}

// startWith is start on disk with a native kind that is known before, and on the
// mesh that wrap makes.
func startWith(t *testing.T, n *hosttest.Net, key *identity.KeyPair, dir, kind string, f daemon.Factory, wrap func(*hosttest.Mesh) mesh.Mesh) *node {
	t.Helper()
	mesh, err := n.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: wrap(mesh)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.RegisterFactory(kind, f), r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	out := &node{Runtime: r, t: t, key: key, mesh: mesh, store: s, dir: dir}
	t.Cleanup(out.stop)
	return out
}
