package host_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// link is a link with its payload.
type link struct {
	chain.Link
	payload []byte
}

func (l *link) hash() chain.Hash { return l.Hash(l.payload) }

func TestK01_to_K04_K08_Links(t *testing.T) {
	id := newKey(t).ID()
	genesis := chain.Genesis(id, 1)
	if genesis.Sequence != 0 || genesis.Parent != (chain.Hash{}) || genesis.Origin != id { // K01
		t.Errorf("genesis %+v", genesis)
	}
	c := chain.New(genesis, nil)
	links := []link{{genesis, nil}}
	seen := map[chain.Hash]bool{{}: true}
	for i := range 100 {
		payload := fmt.Append(nil, "output ", i)
		l := c.Append(1, uint64(i+1), payload)
		if l.Sequence != uint64(i+1) || l.Origin != id || seen[l.Parent] { // K02, K08
			t.Errorf("link %+v", l)
		}
		seen[l.Parent] = true
		before := links[len(links)-1]
		if l.Parent != before.hash() { // K03
			t.Errorf("link %d: parent %s, want %s", l.Sequence, l.Parent, before.hash())
		}
		if err := before.Follows(before.hash(), &l); err != nil { // K04
			t.Errorf("link %d: %v", l.Sequence, err)
		}
		links = append(links, link{l, payload})
	}
	last := links[len(links)-1]
	if c.Head() != last.Link || c.HeadHash() != last.hash() {
		t.Error("the head is not the last link")
	}
}

func TestK05_LinksThatDoNotFollow(t *testing.T) {
	id := newKey(t).ID()
	c := chain.New(chain.Genesis(id, 3), nil)
	first := c.Append(3, 7, []byte("first"))
	parent := first.Hash([]byte("first"))
	good := c.Append(3, 8, []byte("second"))
	if err := first.Follows(parent, &good); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*chain.Link)
		want   error
	}{
		"another origin":  {func(l *chain.Link) { l.Origin[31] ^= 1 }, chain.ErrOriginMismatch},
		"a gap":           {func(l *chain.Link) { l.Sequence++ }, chain.ErrSequenceGap},
		"the same again":  {func(l *chain.Link) { l.Sequence-- }, chain.ErrSequenceGap},
		"another parent":  {func(l *chain.Link) { l.Parent[0] ^= 1 }, chain.ErrParentMismatch},
		"no parent":       {func(l *chain.Link) { l.Parent = chain.Hash{} }, chain.ErrParentMismatch},
		"epoch backwards": {func(l *chain.Link) { l.Epoch-- }, chain.ErrEpochBackwards},
		"events undone":   {func(l *chain.Link) { l.Horizon = 6 }, chain.ErrHorizonBackwards},
	} {
		bad := good
		tc.change(&bad)
		if err := first.Follows(parent, &bad); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	end := chain.Link{Origin: id, Sequence: 1<<64 - 1} // nothing follows the last number, and none wraps
	zero := chain.Link{Origin: id, Parent: parent}
	if err := end.Follows(parent, &zero); !errors.Is(err, chain.ErrSequenceGap) {
		t.Errorf("after the last number: %v", err)
	}
}

// A link's hash is that of its canonical bytes with the payload's, whatever the
// size, and of nothing else.
func TestK06_K07_HashesAndBytes(t *testing.T) {
	l := chain.Link{Origin: newKey(t).ID(), Epoch: 2, Sequence: 1 << 40, Parent: chain.Hash{1}, Horizon: 1 << 50}
	seen := make(map[chain.Hash]int)
	for size := 0; size <= 8<<10; size += 1 + size/16 {
		payload := bytes.Repeat([]byte{byte(size)}, size)
		whole, err := canon.Marshal([]any{&l, payload})
		if err != nil {
			t.Fatal(err)
		}
		h := l.Hash(payload)
		if h != sha256.Sum256(whole) || h != l.Hash(bytes.Clone(payload)) {
			t.Errorf("%d bytes: %s", size, h)
		}
		if other, ok := seen[h]; ok {
			t.Errorf("%d and %d bytes have the same hash", size, other)
		}
		seen[h] = size
	}
	var again chain.Link
	if err := canon.Unmarshal(l.Bytes(), &again); err != nil || again != l { // K07
		t.Errorf("came back as %+v, %v", again, err)
	}
	for n := range l.Bytes() {
		if err := canon.Unmarshal(l.Bytes()[:n], &again); err == nil {
			t.Errorf("cut to %d bytes it is a link", n)
		}
	}
}

// What a daemon puts out is on its own chain, and each output counts the event
// that it answers, and those before.
func TestK08_K09_Outputs(t *testing.T) {
	r := ready(t)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
	if err != nil {
		t.Fatal(err)
	}
	before, hash := chain.Genesis(d.Entity, 1), d.Head
	for i := range 10 {
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("three")})
		if err != nil || len(res.Outputs) != 3 {
			t.Fatalf("%+v, %v", res, err)
		}
		for j, o := range res.Outputs {
			if o.Link.Horizon != uint64(i+1) || o.Link.Sequence != uint64(3*i+j+1) { // K09
				t.Errorf("output %d of event %d: %+v", j, i, o.Link)
			}
			if err := before.Follows(hash, &o.Link); err != nil {
				t.Error(err)
			}
			before, hash = o.Link, o.Link.Hash(o.Payload)
		}
	}
}

func TestK10_K11_K24_SnapshotElsewhere(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	b.push("counter", "c/counter.wasm")
	key := newKey(t)
	d := a.spawnAs("counter", key)
	for i := range 10 {
		a.wantSend(d.Entity, "x", fmt.Sprint(i+1))
	}
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil || s.Header.Through != 10 || string(s.Header.HeadPayload) != "10" {
		t.Fatalf("%+v, %v", s, err)
	}
	encoded, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: newKey(t)}, encoded); !errors.Is(err, daemon.ErrIdentityMismatch) { // K11
		t.Errorf("K11: %v", err)
	}
	if _, err := b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, encoded); err != nil {
		t.Fatal(err)
	}
	res, err := b.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
	if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != "11" { // K10
		t.Fatalf("K10: %+v, %v", res, err)
	}
	// K24: the head's payload travels, so that the next link hashes what it follows.
	if err := s.Header.Head.Follows(s.Header.Head.Hash([]byte("10")), &res.Outputs[0].Link); err != nil {
		t.Errorf("K24: %v", err)
	}
	bare := *s
	bare.Header.HeadPayload = nil
	other, err := bare.Encode()
	if err != nil || bytes.Equal(other, encoded) {
		t.Errorf("K24: without the payload it is the same, %v", err)
	}
	if _, err := snapshot.Decode(other); !errors.Is(err, daemon.ErrBadSnapshot) {
		t.Errorf("K24: without the payload it is taken: %v", err)
	}
}

// What is newer is told by the epoch, and what is known of it outlives the
// daemon: an older one of it is not taken again, from anywhere.
func TestK26_K27_F80_OnlyTheNewest(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	c := newStranger(t, &net)
	d := a.spawnAs("n", nil)
	offer := func(epoch uint64) *migration.Offer {
		return &migration.Offer{Version: migration.Version, Identity: true, Entity: d.Entity, Name: d.Name, Kind: "n", Epoch: epoch}
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil { // b has epoch 2
		t.Fatal(err)
	}
	if err := b.moveWith(d.Entity, a.Self(), host.MigrationOptions{}); err != nil { // a has 3
		t.Fatal(err)
	}
	for _, epoch := range []uint64{1, 2} { // b knows of 3
		c.refused(migration.StaleEpoch, b.Self(), offer(epoch))
	}
	if err := a.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	for _, epoch := range []uint64{1, 2, 3} { // what was stopped at 3
		c.refused(migration.StaleEpoch, a.Self(), offer(epoch))
	}
	if r := c.say(a.Self(), offer(4), &migration.SnapshotChunk{Bytes: []byte("x"), Last: true}); r == nil || r.(*migration.Refuse).Code == migration.StaleEpoch { // it may come, if it can
		t.Errorf("a newer one was answered with %+v", r)
	}
}

func TestK25_LargeStates(t *testing.T) {
	var net hosttest.Net
	a := heavyNode(t, &net, func(o *host.Options) { o.Limits.StateBytes, o.Limits.MemoryBytes = 4<<20, 4<<20 })
	d := a.spawnAs("heavy", nil)
	a.grow(d.Entity, 4<<20)
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := s.Encode()
	if err != nil || len(encoded) < 4<<20 {
		t.Fatalf("%d bytes, %v", len(encoded), err)
	}
	if again, err := snapshot.Decode(encoded); err != nil || !bytes.Equal(again.State, s.State) {
		t.Error(err)
	}
	a.grow(d.Entity, 4<<20+1)
	if _, err := a.Snapshot(ctx, d.Entity); !errors.Is(err, daemon.ErrStateTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	a.grow(d.Entity, 1)
}

func TestI20_to_I22_K21_K23_SnapshotIdentity(t *testing.T) {
	var net hosttest.Net
	a := nativeNode(t, &net)
	d, other := a.spawnAs("n", nil), a.spawnAs("n", nil)
	snap := func(id identity.EntityID) *snapshot.Snapshot {
		s, err := a.Snapshot(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	encoded, err := snap(d.Entity).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Decode(encoded) // K21: with its envelope
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.OpenIdentity(a.key)
	if err != nil || key.ID() != d.Entity || !key.CanSign() { // I20
		t.Errorf("I20: %v, %v", key, err)
	}
	if _, err := s.OpenIdentity(newKey(t)); !errors.Is(err, identity.ErrSealOpen) {
		t.Errorf("by another node: %v", err)
	}
	bare := *s
	bare.Header.Envelope = nil
	if key, err := bare.OpenIdentity(a.key); key != nil || err != nil { // I21, K23
		t.Errorf("I21: %v, %v", key, err)
	}
	if stripped, err := bare.Encode(); err != nil || len(stripped) != len(encoded)-identity.EnvelopeSize-1 { // one head byte less
		t.Errorf("K23: %d bytes without the envelope, %d with it, %v", len(stripped), len(encoded), err)
	}
	impostor := *s
	impostor.Header.Envelope = snap(other.Entity).Header.Envelope
	if key, err := impostor.OpenIdentity(a.key); key != nil || !errors.Is(err, identity.ErrInvalidSigner) { // I22
		t.Errorf("I22: %v, %v", key, err)
	}
	impostor.Header.Envelope = s.Header.Envelope[:208]
	if key, err := impostor.OpenIdentity(a.key); key != nil || !errors.Is(err, identity.ErrMalformed) {
		t.Errorf("a cut envelope: %v, %v", key, err)
	}
}

// A snapshot that claims what no daemon comes to is forged: taken, its counts
// would start over, or its chain could not be proven.
func TestK33_F19_CountsDoNotStartOver(t *testing.T) {
	r := ready(t)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, r, d.Entity, "1")
	for name, change := range map[string]func(*snapshot.Header){
		"epoch":        func(h *snapshot.Header) { h.Epoch = 1<<64 - 1 },
		"sequence":     func(h *snapshot.Header) { h.Through, h.Head.Sequence = 1<<64-1, 1<<64-1 },
		"events":       func(h *snapshot.Header) { h.Applied = 1<<64 - 1 },
		"head's count": func(h *snapshot.Header) { h.Head.Horizon = h.Applied + 1 },
	} {
		s, err := r.Snapshot(ctx, d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		change(&s.Header)
		header, err := canon.Marshal(&s.Header)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(header)
		s.Checkpoint = chain.Checkpoint{Purpose: chain.PurposeSnapshot, Entity: d.Entity, Epoch: s.Header.Epoch, Sequence: s.Header.Through,
			Head: s.Header.Head.Hash(s.Header.HeadPayload), State: sum[:]} // whole in itself, but for what it claims
		encoded, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := snapshot.Decode(encoded); !errors.Is(err, daemon.ErrBadSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The horizon is exact, whoever sends and however many: no sender is taken for
// another, none is forgotten, no mark goes back.
func TestK30_K31_K34_F20_Horizon(t *testing.T) {
	var h host.Horizon
	if len(h.List()) != 0 { // K30
		t.Error("an empty horizon has marks")
	}
	id := identity.EntityID{1}
	for _, step := range []struct{ observe, want uint64 }{{10, 10}, {5, 10}, {15, 15}} { // K31
		h.Advance(id, step.observe)
		if marks := h.List(); len(marks) != 1 || marks[0].Number != step.want {
			t.Errorf("after %d: %+v", step.observe, marks)
		}
	}
	for i := range 2000 {
		h.Advance(identity.EntityID{2, byte(i), byte(i >> 8)}, uint64(i+1))
	}
	for i := range 2000 { // K34, F20: far beyond what a sketch holds
		id, other := identity.EntityID{2, byte(i), byte(i >> 8)}, identity.EntityID{3, byte(i), byte(i >> 8)}
		if !h.Seen(id, uint64(i+1)) || h.Seen(id, uint64(i+2)) || h.Seen(other, 1) {
			t.Fatalf("sender %d", i)
		}
	}
	h.Advance(identity.EntityID{}, 9)
	if h.Seen(identity.EntityID{}, 1) {
		t.Error("the anonymous left a mark")
	}
	if err := h.Room(identity.EntityID{9}, 2001, 0); !errors.Is(err, daemon.ErrHorizonFull) {
		t.Errorf("a full horizon: %v", err)
	}
	if err := h.Room(id, 2001, 0); err != nil {
		t.Errorf("a sender that is known: %v", err)
	}
	if err := h.Room(identity.EntityID{9}, 2001, 2); err != nil || len(h.List()) != 0 { // all were silent since
		t.Errorf("forgetting: %v, %d marks", err, len(h.List()))
	}
}
