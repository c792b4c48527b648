package host_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// weighty is a native daemon whose state is as many bytes as it was told.
type weighty struct {
	native
	state []byte
}

func (h *weighty) Process(_ *daemon.Call, p []byte) ([][]byte, error) {
	var n int
	if _, err := fmt.Sscan(string(p), &n); err != nil {
		return nil, err
	}
	h.state = make([]byte, n)
	for i := range h.state {
		h.state[i] = byte(i * 7)
	}
	return nil, nil
}

func (h *weighty) Snapshot(*daemon.Call) ([]byte, error) {
	return append([]byte{}, h.state...), nil
}
func (h *weighty) Restore(_ *daemon.Call, s []byte) error {
	h.state = slices.Clone(s)
	return nil
}

func heavyNode(t *testing.T, net *hosttest.Net, change func(*host.Options)) *node {
	t.Helper()
	n := start(t, net, newKey(t), "", change)
	err := n.RegisterFactory("heavy", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &weighty{}, nil }))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) grow(id identity.EntityID, size int) {
	n.t.Helper()
	if _, err := n.Deliver(ctx, id, daemon.Event{Payload: fmt.Append(nil, size)}); err != nil {
		n.t.Fatal(err)
	}
}

// A snapshot of any size crosses in chunks that are full but for the last, and
// arrives as it was.
func TestM95_M100_M112_M136_F26_F27_Chunks(t *testing.T) {
	var net hosttest.Net
	a, b := heavyNode(t, &net, nil), heavyNode(t, &net, nil)
	var mu sync.Mutex
	var chunks []*migration.SnapshotChunk
	net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		if c, ok := m.(*migration.SnapshotChunk); ok {
			chunks = append(chunks, c)
		}
		return true
	}
	// move returns how many bytes the snapshot of that much state took.
	move := func(size, want int) int {
		t.Helper()
		d := a.spawnAs("heavy", nil)
		a.grow(d.Entity, size)
		chunks = nil
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		var phases []migration.Phase
		for p := range m.Phases(ctx) {
			phases = append(phases, p.Phase)
		}
		if _, err := m.Wait(ctx); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if phases[len(phases)-1] != migration.Complete { // M95, F27
			t.Errorf("%d bytes: phases %v", size, phases)
		}
		var whole []byte
		for i, c := range chunks {
			if last := i == len(chunks)-1; c.Last != last || len(c.Bytes) > migration.MaxChunk || !last && len(c.Bytes) != migration.MaxChunk {
				t.Errorf("%d bytes: chunk %d of %d has %d bytes, last %v", size, i, len(chunks), len(c.Bytes), c.Last)
			}
			whole = append(whole, c.Bytes...)
		}
		s, err := snapshot.Decode(whole)
		if err != nil || len(s.State) != size || s.Header.Entity != d.Entity {
			t.Errorf("%d bytes: %v", size, err)
		}
		if len(chunks) != want {
			t.Errorf("%d bytes: %d chunks, want %d", size, len(chunks), want)
		}
		there, err := b.Snapshot(ctx, d.Entity)
		if err != nil || !bytes.Equal(there.State, s.State) {
			t.Errorf("%d bytes: the state on the target differs, %v", size, err)
		}
		return len(whole)
	}
	const full = migration.MaxChunk
	move(0, 1)
	move(3, 1)
	frame := move(full-2000, 1) - (full - 2000)
	move(full-frame, 1)
	move(full-frame+1, 2)
	move(3*full+500, 4)
	move(99*full+7, 100)
}

// A state over its limit fails the migration by type, at the source.
func TestF31_OversizeStateIsTyped(t *testing.T) {
	var net hosttest.Net
	a, b := heavyNode(t, &net, func(o *host.Options) { o.Limits.StateBytes, o.Limits.MemoryBytes = 1<<20, 1<<20 }), heavyNode(t, &net, nil)
	d := a.spawnAs("heavy", nil)
	a.grow(d.Entity, 1<<20+1)
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); !failedWith(err, migration.StateFailed) {
		t.Errorf("got %v", err)
	}
	a.grow(d.Entity, 1<<20)
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Error(err)
	}
}

// sourceOf is a node a with a weighty daemon, and what it would say of it: an
// offer, and the snapshot in four chunks.
func sourceOf(t *testing.T, net *hosttest.Net) (s *stranger, d daemon.Info, offer *migration.Offer, chunks []*migration.SnapshotChunk) {
	t.Helper()
	a := heavyNode(t, net, nil)
	d = a.spawnAs("heavy", nil)
	a.grow(d.Entity, 1000)
	taken, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := taken.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(encoded, (len(encoded)+3)/4) {
		chunks = append(chunks, &migration.SnapshotChunk{Bytes: part})
	}
	chunks[3].Last = true
	return &stranger{t, a.mesh}, d, &migration.Offer{Version: migration.Version, Identity: true, Migration: migration.ID{1}, Entity: d.Entity, Name: d.Name, Kind: "heavy", Epoch: 1}, chunks
}

// Chunks carry no number: the stream keeps their order. A source that sends them
// in another, or again, or not all, or more, is refused by what they contain, and
// a forged snapshot never stands.
func TestM33_M61_M96_M137_to_M139_M141_F28_F30_F71_F72_F73_ChunksThatDoNotFit(t *testing.T) {
	var net hosttest.Net
	source, d, offer, c := sourceOf(t, &net)
	_, _, _, other := sourceOf(t, &net)
	b := heavyNode(t, &net, nil)
	chunk := func(c *migration.SnapshotChunk, last bool) migration.Message {
		return &migration.SnapshotChunk{Bytes: c.Bytes, Last: last}
	}
	for _, tc := range []struct {
		name string
		say  []migration.Message
		want migration.Code
	}{
		{"M137 out of order", []migration.Message{chunk(c[3], false), chunk(c[1], false), chunk(c[0], false), chunk(c[2], true)}, migration.StateFailed},
		{"M138 twice", []migration.Message{c[0], c[1], c[1], c[2], c[3]}, migration.StateFailed},
		{"one is missing", []migration.Message{c[0], c[1], c[3]}, migration.StateFailed},
		{"M139 ends early", []migration.Message{c[0], chunk(c[1], true)}, migration.StateFailed},
		{"M139 goes on after the last", []migration.Message{c[0], c[1], c[2], c[3], c[0]}, migration.ProtocolError},
		{"M96 the first is no snapshot's", []migration.Message{&migration.SnapshotChunk{Bytes: make([]byte, 36)}, c[1], c[2], c[3]}, migration.StateFailed},
		{"M96 another version", []migration.Message{&migration.SnapshotChunk{Bytes: append([]byte{0x83, 0x92, 0x07}, c[0].Bytes[3:]...)}, c[1], c[2], c[3]}, migration.StateFailed},
		{"M33, M61 another daemon's", []migration.Message{other[0], other[1], other[2], other[3]}, migration.StateFailed},
		{"F73 another daemon's in the middle", []migration.Message{c[0], other[1], c[2], c[3]}, migration.StateFailed},
		{"M141 history that was not announced", []migration.Message{c[0], &migration.HistoryBatch{Records: [][]byte{{1}}}, c[1]}, migration.ProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := *source
			s.t = t
			s.refused(tc.want, b.Self(), append([]migration.Message{offer}, tc.say...)...)
			net.Settle()
			b.nothing()
		})
	}
	// What all of these were made of is good.
	answer := source.say(b.Self(), offer, c[0], c[1], c[2], c[3], &migration.Tail{Last: true})
	if p, ok := answer.(*migration.Prepared); !ok || p.Applied != 1 {
		t.Errorf("the good ones were answered with %+v", answer)
	}
	if d.Entity == (identity.EntityID{}) || b.DaemonCount() != 0 {
		t.Error("a prepared daemon was served")
	}
}

// What one attempt may park at the target is bounded.
func TestM144_F75_ParkedBytesAreBounded(t *testing.T) {
	var net hosttest.Net
	source, _, offer, _ := sourceOf(t, &net)
	b := heavyNode(t, &net, func(o *host.Options) { o.Limits.StateBytes, o.Limits.MemoryBytes = 1<<20, 1<<20 })
	say := []migration.Message{offer}
	for range (65<<20)/migration.MaxChunk + 1 {
		say = append(say, &migration.SnapshotChunk{Bytes: make([]byte, migration.MaxChunk)})
	}
	source.refused(migration.StateFailed, b.Self(), say...)
	net.Settle()
	b.nothing()
}

// opened is a stream to a target on which something was said.
func (s *stranger) opened(to identity.NodeID, say ...migration.Message) migration.Conn {
	s.t.Helper()
	p, err := s.mesh.Peer(to)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := p.OpenMigration(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range say {
		if err := c.Send(m); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

// Of two attempts of one source the later has the place, and they do not mix;
// other daemons are not touched.
func TestM142_M143_F74_AttemptsDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		s1, d1, offer1, c1 := sourceOf(t, &net)
		s2, d2, offer2, c2 := sourceOf(t, &net)
		b := heavyNode(t, &net, nil)
		old := s1.opened(b.Self(), offer1, c1[0], c1[1])
		elsewhere := s2.opened(b.Self(), offer2, c2[0])
		synctest.Wait()
		if got := len(b.Migrations().Arriving()); got != 2 { // M143
			t.Fatalf("%d arriving", got)
		}
		later := *offer1
		later.Migration = migration.ID{2}
		fresh := s1.opened(b.Self(), &later, c1[0])
		synctest.Wait()
		for _, c := range []migration.Message{c1[2], c1[3], &migration.Tail{Last: true}} { // the old one goes on, in vain
			if old.Send(c) != nil {
				break
			}
		}
		synctest.Wait()
		if !slices.Contains(b.Migrations().Arriving(), d1.Entity) || !slices.Contains(b.Migrations().Arriving(), d2.Entity) {
			t.Errorf("arriving %v", b.Migrations().Arriving())
		}
		for conn, rest := range map[migration.Conn][]*migration.SnapshotChunk{fresh: c1[1:], elsewhere: c2[1:]} {
			for _, c := range rest {
				if err := conn.Send(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Send(&migration.Tail{Last: true}); err != nil {
				t.Fatal(err)
			}
			prepared := false
			for m, err := conn.Recv(); err == nil && !prepared; m, err = conn.Recv() {
				if _, prepared = m.(*migration.Prepared); prepared {
					break
				}
			}
			if !prepared {
				t.Error("a good attempt did not get there")
			}
			conn.Abort()
		}
		for m, err := old.Recv(); err == nil; m, err = old.Recv() {
			if _, ok := m.(*migration.Prepared); ok {
				t.Error("the old attempt was prepared")
			}
		}
		old.Abort()
	})
}

// A source that falls silent is dropped after a while, whatever it parked; one
// that goes on, however slowly, is not, whatever nonsense others say meanwhile.
func TestM145_F75_F76_SilentSourcesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		silent, d1, offer1, c1 := sourceOf(t, &net)
		slow, d2, offer2, c2 := sourceOf(t, &net)
		b := heavyNode(t, &net, nil)
		noisy := newStranger(t, &net)
		parked := silent.opened(b.Self(), offer1, c1[0], c1[1])
		going := slow.opened(b.Self(), offer2)
		for _, c := range c2 {
			time.Sleep(migration.Patience - time.Second)
			noisy.refused(migration.ProtocolError, b.Self(), c)
			if err := going.Send(c); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := b.Migrations().Arriving(); len(got) != 1 || got[0] != d2.Entity {
			t.Errorf("arriving %v, want %s alone", got, d2.Entity)
		}
		if _, err := parked.Recv(); err == nil {
			if _, err = parked.Recv(); err == nil { // after the Accept
				t.Error("the silent source's stream is open")
			}
		}
		if _, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "heavy", Name: d1.Name}); err != nil { // its place is free
			t.Error(err)
		}
		going.Abort()
		parked.Abort()
	})
}

// The target is lost with half of the state; the daemon goes on, and moves to
// another node.
func TestM97_TargetIsLostHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b, c := heavyNode(t, &net, nil), heavyNode(t, &net, nil), heavyNode(t, &net, nil)
		d := a.spawnAs("heavy", nil)
		a.grow(d.Entity, 10*migration.MaxChunk)
		n := 0
		net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
			if _, ok := m.(*migration.SnapshotChunk); ok {
				if n++; n == 5 {
					b.mesh.Crash()
					return false
				}
			}
			return true
		}
		if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); !failedWith(err, migration.TargetUnavailable) {
			t.Errorf("got %v", err)
		}
		if _, ok := a.MigrationPhase(d.Entity); ok || len(a.Migrations().Running()) != 0 {
			t.Error("a record is left")
		}
		m := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{})
		if _, err := m.Wait(ctx); err != nil || m.Target() != c.Self() || c.DaemonCount() != 1 {
			t.Errorf("to another node: %v", err)
		}
	})
}

// A source changes its mind while chunks are under way: what straggles in
// harms nobody.
func TestM146_F70_StragglersAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		source, d, offer, c := sourceOf(t, &net)
		b := heavyNode(t, &net, nil)
		conn := source.opened(b.Self(), offer, c[0], c[1], migration.NewRefuse(migration.Failf(migration.Cancelled, "no more")))
		for _, late := range []migration.Message{c[2], c[3], &migration.Tail{Last: true}} {
			if conn.Send(late) != nil {
				break
			}
		}
		synctest.Wait()
		b.nothing()
		conn.Abort()
		answer := source.say(b.Self(), offer, c[0], c[1], c[2], c[3], &migration.Tail{Last: true}) // and again, from the beginning
		if _, ok := answer.(*migration.Prepared); !ok {
			t.Errorf("%s: answered with %+v", d.Name, answer)
		}
	})
}

// The answer Ready is lost: the source asks again over another connection, and
// one daemon stands.
func TestM116_F47_LostReady(t *testing.T) {
	lost := false
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Ready); ok && !lost {
			lost = true
			return false
		}
		return true
	}}
	a, b := nativeNode(t, &net), start(t, &net, newKey(t), "", nil)
	made := 0
	if err := b.RegisterFactory("n", nativeFactory(&made)); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	if err := b.ExpectMigration("n", d.Entity); err != nil {
		t.Fatal(err)
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	if b.Expected() != 0 {
		t.Error("the expectation was not used up")
	}
	if made != 2 || b.DaemonCount() != 1 {
		t.Errorf("%d made, %d daemons", made, b.DaemonCount())
	}
	b.wantSend(d.Entity, "x", "2")
}
