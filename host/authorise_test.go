package host_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

var publicOnly = host.MigrationOptions{PublicOnly: true}

// forged is what a peer without the daemon's key can say of it: an offer, a snapshot
// that nobody signed, with the state and the epoch that the peer likes.
func forged(t *testing.T, n *node, d daemon.Info, epoch uint64) (offer *migration.Offer, snapshot *migration.SnapshotChunk, head []byte) {
	t.Helper()
	s, err := n.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	s.Header.Epoch, s.Header.Envelope = epoch, nil
	if err := host.SealSnapshot(s, identity.PublicOnly(d.Entity)); err != nil {
		t.Fatal(err)
	}
	encoded, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	hash := s.Header.Head.Hash(s.Header.HeadPayload)
	return &migration.Offer{Version: migration.Version, Migration: migration.ID{9}, Entity: d.Entity, Name: d.Name, Kind: d.Kind, Epoch: epoch},
		&migration.SnapshotChunk{Bytes: encoded, Last: true}, hash[:]
}

// A peer that has no key of a daemon, whatever it may do here, makes this node no
// owner of it: not by an offer without an identity, nor by one that calls itself
// public-only, whatever its epoch.
func TestArrivalIsSignedOrNamed(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	c := newStranger(t, &net)
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	for _, epoch := range []uint64{1, 1000, 1 << 40} {
		offer, snapshot, _ := forged(t, a, d, epoch)
		c.refused(migration.IdentityTransportFailed, b.Self(), offer, snapshot)
		c.refused(migration.Denied, b.Self(), &migration.BareOffer{Offer: *offer, PublicOnly: true}, snapshot)
		c.refused(migration.IdentityTransportFailed, b.Self(), &migration.BareOffer{Offer: *offer}, snapshot)
		withKey := *offer
		withKey.Identity = true
		c.refused(migration.Denied, b.Self(), &withKey, snapshot)
	}
	net.Settle()
	b.nothing()
	if _, err := b.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); !errors.Is(err, daemon.ErrNotFound) {
		t.Errorf("the node that was attacked has the daemon: %v", err)
	}
	// Its name is free, too.
	if _, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: d.Name}); err != nil {
		t.Error(err)
	}
	a.wantSend(d.Entity, "x", "2")
}

// Naming the daemon is not naming its source: a stranger is refused, and the named
// source may bring it without a signature.
func TestUnsignedArrivalComesFromTheNamedSourceOnly(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	c := newStranger(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	if err := b.ExpectMigration("n", d.Entity); err != nil {
		t.Fatal(err)
	}
	offer, snapshot, _ := forged(t, a, d, 7)
	bare := &migration.BareOffer{Offer: *offer, PublicOnly: true}
	c.refused(migration.Denied, b.Self(), bare, snapshot)
	if err := b.Migrations().BindSource(d.Entity, c.mesh.Self()); err != nil {
		t.Fatal(err)
	}
	answer := c.say(b.Self(), bare, snapshot, &migration.Tail{Last: true})
	if _, ok := answer.(*migration.Prepared); !ok {
		t.Errorf("the named source was answered with %+v", answer)
	}
}

// The snapshot is the daemon's own, the hand-over is not: nobody gets it.
func TestUnsignedHandoverIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*migration.Release, *chain.Checkpoint){
		"unsigned":        func(_ *migration.Release, c *chain.Checkpoint) { c.Signature = nil },
		"signed by noise": func(_ *migration.Release, c *chain.Checkpoint) { c.Signature = make([]byte, 64) },
		"no checkpoint":   func(r *migration.Release, _ *chain.Checkpoint) { r.Checkpoint = nil },
	} {
		t.Run(name, func(t *testing.T) {
			net := hosttest.Net{}
			a, b := nativeNode(t, &net), nativeNode(t, &net)
			d := a.spawnAs("n", nil)
			a.wantSend(d.Entity, "x", "1")
			cut := newGate(&migration.Release{})
			net.Filter = cut.filter
			m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
			<-cut.reached
			activate, _ := b.Held(d.Entity)
			if activate == nil {
				t.Fatal("the daemon is not prepared")
			}
			bad := *cut.message.(*migration.Release)
			var check chain.Checkpoint
			if err := canon.Unmarshal(bad.Checkpoint, &check); err != nil {
				t.Fatal(err)
			}
			spoil(&bad, &check)
			if bad.Checkpoint != nil {
				var err error
				if bad.Checkpoint, err = canon.Marshal(&check); err != nil {
					t.Fatal(err)
				}
			}
			if err := activate(&bad); !failedWith(err, migration.Denied) && !failedWith(err, migration.ProtocolError) && !failedWith(err, migration.StateFailed) {
				t.Errorf("activating: %v", err)
			}
			if b.DaemonCount() != 0 {
				t.Error("the node has the daemon")
			}
			cut.open()
			if _, err := m.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			b.wantSend(d.Entity, "x", "2")
		})
	}
}

// A snapshot that nobody signed, with a key that is given beside it, makes a daemon
// only where the caller says that it answers for what is in it.
func TestUnsignedSnapshotIsNotRestoredUnasked(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	_, chunk, _ := forged(t, a, d, 1)
	_, err := b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, chunk.Bytes)
	if !errors.Is(err, daemon.ErrBadSnapshot) || !errors.Is(err, chain.ErrUnsigned) || b.DaemonCount() != 0 {
		t.Errorf("restoring: %v", err)
	}
	if _, err := b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key, Unsigned: true}, chunk.Bytes); err != nil {
		t.Error(err)
	}
}

// A daemon that moves public-only loses its signatures on the target, its chain says
// where, and its key stays at home: durably, and it has it again when it is back.
func TestPublicOnlyKeepsTheKeyAtHome(t *testing.T) {
	var net hosttest.Net
	a, b, c := nativeNode(t, &net), nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	if err := a.moveWith(d.Entity, b.Self(), publicOnly); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "2")
	kept, err := a.Daemons().KeptIdentity(d.Entity)
	if err != nil || kept.ID() != d.Entity || !kept.CanSign() {
		t.Fatalf("the key at home: %v, %v", kept, err)
	}
	if _, err := b.Daemons().KeptIdentity(d.Entity); !errors.Is(err, daemon.ErrNotKept) {
		t.Errorf("the key elsewhere: %v", err)
	}
	moves := []chain.Move{}
	_, err = chain.Walk(bytes.NewReader(b.chain(d.Entity)), func(i chain.Item) error {
		if i.Move != nil {
			moves = append(moves, *i.Move)
		}
		return nil
	})
	if !errors.Is(err, chain.ErrUnsigned) || len(moves) != 1 || !moves[0].PublicOnly {
		t.Errorf("the chain: %+v, %v", moves, err)
	}
	// It moves on as if it had a key: not at all. Without one: only where it is named.
	if err := b.moveWith(d.Entity, c.Self(), host.MigrationOptions{}); !failedWith(err, migration.IdentityTransportFailed) {
		t.Errorf("M117: %v", err)
	}
	if err := b.moveWith(d.Entity, c.Self(), publicOnly); !failedWith(err, migration.Denied) {
		t.Errorf("moving on unnamed: %v", err)
	}
	b.wantSend(d.Entity, "x", "3")
	// Home it comes, and signs.
	if err := b.moveWith(d.Entity, a.Self(), publicOnly); err != nil {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "4")
	if s, err := a.Snapshot(ctx, d.Entity); err != nil || s.Verify() != nil {
		t.Errorf("with its key again: %v", err)
	}
	if _, err := a.Daemons().KeptIdentity(d.Entity); !errors.Is(err, daemon.ErrNotKept) {
		t.Errorf("the key is kept twice: %v", err)
	}
}

// A target that was given the key proves it; one that only says so gets no daemon.
func TestTargetProvesThatItHasTheKey(t *testing.T) {
	var spoil bool
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if h, ok := m.(*migration.Holds); ok && spoil {
			h.Signature[0] ^= 1
		}
		return true
	}}
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	if err := b.RegisterMigrationTargetIdentity("n", key); err != nil {
		t.Fatal(err)
	}
	spoil = true
	if err := a.moveWith(d.Entity, b.Self(), leaveKey); !failedWith(err, migration.IdentityTransportFailed) {
		t.Errorf("a proof that is none: %v", err)
	}
	a.wantSend(d.Entity, "x", "2")
	net.Settle()
	spoil = false
	if err := a.moveWith(d.Entity, b.Self(), leaveKey); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "3")
	if err := b.proves(d.Entity); err != nil {
		t.Error(err)
	}
}
