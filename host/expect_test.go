package host_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// nativeNode is start with native kind "n".
func nativeNode(t *testing.T, net *hosttest.Net) *node {
	t.Helper()
	n := start(t, net, newKey(t), "", nil)
	if err := n.RegisterFactory("n", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) spawnAs(kind string, key *identity.KeyPair) daemon.Info {
	n.t.Helper()
	i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: kind, Identity: key})
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}

// moveWith moves the daemon and returns what became of it.
func (n *node) moveWith(id identity.EntityID, to identity.NodeID, o host.MigrationOptions) error {
	m, err := n.StartMigrationWith(ctx, id, to, o)
	if err != nil {
		return err
	}
	_, err = m.Wait(ctx)
	return err
}

func (n *node) proves(id identity.EntityID) error {
	_, err := chain.Verify(bytes.NewReader(n.chain(id)))
	return err
}

func failedWith(err error, code migration.Code) bool {
	return errors.Is(err, &migration.Error{Code: code})
}

var leaveKey = host.MigrationOptions{OmitIdentity: true}

// The first that is said of a daemon to come is what holds, and a key that was
// given is not forgotten for less.
func TestR43_R44_R45_R63_R64_R67_F7_F8_FirstExpectationStays(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	given, named := newKey(t), newKey(t)
	if err := b.RegisterFactory("m", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.RegisterMigrationTargetIdentity("n", given), b.ExpectMigration("n", named.ID())); err != nil {
		t.Fatal(err)
	}
	for row, err := range map[string]error{
		"R45": b.RegisterMigrationTargetIdentity("n", given), "R63": b.RegisterMigrationTargetIdentity("m", given),
		"R64": b.ExpectMigration("n", given.ID()), "R43": b.ExpectMigration("m", named.ID()), "F7": b.RegisterMigrationTargetIdentity("n", named),
	} {
		if !errors.Is(err, daemon.ErrTargetKnown) {
			t.Errorf("%s: %v", row, err)
		}
	}
	for _, err := range []error{b.ExpectMigration("none", newKey(t).ID()), b.RegisterMigrationTargetIdentity("none", newKey(t))} {
		var kind *daemon.KindError
		if !errors.Is(err, daemon.ErrKindNotFound) || !errors.As(err, &kind) || kind.Kind != "none" {
			t.Errorf("R44: %v", err)
		}
	}
	// The key that was given is there, under its own name (R67), for kind n.
	a.spawnAs("n", given)
	if err := a.moveWith(given.ID(), b.Self(), leaveKey); err != nil {
		t.Fatal(err)
	}
	b.wantSend(given.ID(), "x", "1")
	if err := b.proves(given.ID()); err != nil {
		t.Errorf("R64: %v", err)
	}
	// No key was given of the other: it stays where it is, and whole.
	a.spawnAs("n", named)
	if err := a.moveWith(named.ID(), b.Self(), leaveKey); !failedWith(err, migration.IdentityTransportFailed) {
		t.Errorf("F7: %v", err)
	}
	a.wantSend(named.ID(), "x", "1")
	if err := a.proves(named.ID()); err != nil {
		t.Errorf("F7: %v", err)
	}
}

// A daemon that is expected as one of a kind does not come as one of another.
func TestExpectedKindHolds(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	if err := b.RegisterFactory("m", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	if err := b.ExpectMigration("m", key.ID()); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", key)
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); !failedWith(err, migration.FactoryNotFound) || b.DaemonCount() != 0 {
		t.Errorf("%v; %d daemons", err, b.DaemonCount())
	}
}

func TestM04_M07_M10_TargetHasTheKey(t *testing.T) {
	for _, o := range []host.MigrationOptions{{}, leaveKey} {
		var net hosttest.Net
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		key := newKey(t)
		d := a.spawnAs("n", key)
		for _, want := range []string{"1", "2", "3"} {
			a.wantSend(d.Entity, "x", want)
		}
		if err := b.RegisterMigrationTargetIdentity("n", key); err != nil {
			t.Fatal(err)
		}
		m, err := a.StartMigrationWith(ctx, d.Entity, b.Self(), o)
		if err != nil {
			t.Fatal(err)
		}
		if rep, err := m.Wait(ctx); err != nil || rep.Entity != d.Entity || rep.From != a.Self() || rep.To != b.Self() || m.Entity() != d.Entity {
			t.Fatalf("%+v, %v", rep, err)
		}
		b.wantSend(d.Entity, "x", "4")
		if a.DaemonCount() != 0 || b.DaemonCount() != 1 {
			t.Errorf("%d and %d daemons", a.DaemonCount(), b.DaemonCount())
		}
		if err := b.proves(d.Entity); err != nil {
			t.Error(err)
		}
	}
}

func TestM05_EnvelopeBringsTheKey(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	d := a.spawnAs("n", nil)
	if err := b.ExpectMigration("n", d.Entity); err != nil {
		t.Fatal(err)
	}
	m, err := a.StartMigration(ctx, d.Entity, b.Self())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx); err != nil || a.DaemonCount() != 0 || b.DaemonCount() != 1 {
		t.Fatalf("%v; %d and %d daemons", err, a.DaemonCount(), b.DaemonCount())
	}
	b.wantSend(d.Entity, "x", "1")
	if err := b.proves(d.Entity); err != nil {
		t.Error(err)
	}
}

// A key that is left behind is made up by nobody, nor replaced by another that
// the target has: the migration fails, and the daemon goes on with its key.
func TestM06_M08_NoKeyIsMadeUp(t *testing.T) {
	for _, prepare := range []func(b *node, id identity.EntityID) error{
		func(b *node, id identity.EntityID) error { return nil },
		func(b *node, id identity.EntityID) error { return b.ExpectMigration("n", id) },
		func(b *node, _ identity.EntityID) error {
			return b.RegisterMigrationTargetIdentity("n", newKey(t))
		},
	} {
		var net hosttest.Net
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		d := a.spawnAs("n", newKey(t))
		if err := prepare(b, d.Entity); err != nil {
			t.Fatal(err)
		}
		a.wantSend(d.Entity, "x", "1")
		if err := a.moveWith(d.Entity, b.Self(), leaveKey); !failedWith(err, migration.IdentityTransportFailed) {
			t.Errorf("leaving the key behind: %v", err)
		}
		net.Settle()
		b.nothing()
		a.wantSend(d.Entity, "x", "2")
		if err := a.proves(d.Entity); err != nil {
			t.Errorf("the chain: %v", err)
		}
	}
}

// keyless is a mesh whose peers' seal keys are not known, or are another's.
type keyless struct {
	*hosttest.Mesh
	key identity.SealKey // zero: not known
}

func (m *keyless) Peer(id identity.NodeID) (mesh.Peer, error) {
	p, err := m.Mesh.Peer(id)
	if err != nil {
		return nil, err
	}
	return keylessPeer{p, m.key}, nil
}

type keylessPeer struct {
	mesh.Peer
	key identity.SealKey
}

func (p keylessPeer) SealKey(context.Context) (identity.SealKey, error) {
	if p.key == (identity.SealKey{}) {
		return p.key, errors.New("nobody knows it")
	}
	return p.key, nil
}

// keylessNode is a node with native kind "n" on such a mesh.
func keylessNode(t *testing.T, net *hosttest.Net, key identity.SealKey) *node {
	t.Helper()
	n := start(t, net, newKey(t), "", func(o *host.Options) { o.Mesh = &keyless{o.Mesh.(*hosttest.Mesh), key} })
	if err := n.RegisterFactory("n", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	return n
}

// A key that cannot be sealed for its target does not silently stay behind, nor
// travel open: the migration fails before anything has been sent, and leaves no
// record. Without the key it goes.
func TestM09_M10_M117_M118_F60_F61_F62_UnsealableKeyFails(t *testing.T) {
	var sent atomic.Int32
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Offer); ok {
			sent.Add(1)
		}
		return true
	}}
	a, b, c := keylessNode(t, &net, identity.SealKey{}), nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{})
	if !failedWith(err, migration.IdentityTransportFailed) || sent.Load() != 0 {
		t.Errorf("M09: %v, after %d offers", err, sent.Load())
	}
	// Whoever ordered it from elsewhere hears the same, and the source has no record of it.
	err = c.moveWith(d.Entity, b.Self(), host.MigrationOptions{Source: a.Self()})
	if !failedWith(err, migration.IdentityTransportFailed) || sent.Load() != 0 {
		t.Errorf("M118: %v, after %d offers", err, sent.Load())
	}
	if a.DaemonCount() != 1 || b.DaemonCount() != 0 || len(a.Migrations().Running()) != 0 || len(c.Migrations().Running()) != 0 {
		t.Errorf("%d and %d daemons", a.DaemonCount(), b.DaemonCount())
	}
	a.wantSend(d.Entity, "x", "1")
	if err := b.RegisterMigrationTargetIdentity("n", key); err != nil { // M10
		t.Fatal(err)
	}
	if err := a.moveWith(d.Entity, b.Self(), leaveKey); err != nil || a.DaemonCount() != 0 || b.DaemonCount() != 1 {
		t.Errorf("M10: %v", err)
	}
	if err := b.proves(d.Entity); err != nil {
		t.Errorf("M10: %v", err)
	}
}

// Where an envelope is announced, it decides: one that does not open is not made
// up for by a key that the target has otherwise.
func TestM119_M120_F63_TheEnvelopeDecides(t *testing.T) {
	var net hosttest.Net
	other, err := newKey(t).SealKey()
	if err != nil {
		t.Fatal(err)
	}
	a, b := keylessNode(t, &net, other), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	if err := b.RegisterMigrationTargetIdentity("n", key); err != nil {
		t.Fatal(err)
	}
	m, err := a.StartMigrationWith(ctx, d.Entity, b.Self(), host.MigrationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx); !failedWith(err, migration.IdentityTransportFailed) {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "2")
	net.Settle()
	if b.DaemonCount() != 0 || len(b.Migrations().Arriving()) != 0 {
		t.Errorf("%d daemons on the target", b.DaemonCount())
	}
}

// What was told of a daemon is kept through attempts that fail, and used up by
// the one that succeeds.
func TestR65_R66_M111_M114_M115_F46_ExpectationsOutliveBadAttempts(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	if err := b.RegisterMigrationTargetIdentity("n", key); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	garbage := &stranger{t, a.mesh}
	offer := &migration.Offer{Version: migration.Version, Identity: true, Entity: d.Entity, Name: d.Name, Kind: "n", Epoch: 1}
	for range 2 { // R65: nothing is used up
		garbage.refused(migration.StateFailed, b.Self(), offer, &migration.SnapshotChunk{Bytes: make([]byte, 32), Last: true})
		net.Settle()
		if b.Expected() != 1 || b.DaemonCount() != 0 || len(b.Migrations().Arriving()) != 0 {
			t.Fatalf("M114: %d expected, %d daemons, %d arriving", b.Expected(), b.DaemonCount(), len(b.Migrations().Arriving()))
		}
	}
	if err := a.moveWith(d.Entity, b.Self(), leaveKey); err != nil { // M115
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "2")
	if err := b.proves(d.Entity); err != nil {
		t.Errorf("M115: %v", err)
	}
	if b.Expected() != 0 { // M111, R66
		t.Errorf("R66: %d are still expected", b.Expected())
	}
	if a.DaemonCount() != 0 || b.DaemonCount() != 1 || len(a.Migrations().Running()) != 0 || len(b.Migrations().Arriving()) != 0 {
		t.Errorf("M111: %d and %d daemons", a.DaemonCount(), b.DaemonCount())
	}
	if err := b.ExpectMigration("n", d.Entity); err != nil { // should it leave and come again
		t.Errorf("R66: %v", err)
	}
}

// An expected daemon can be bound to the node it is to come from: others are not
// heard, whatever their rights.
func TestM109_F59_BoundSource(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	c := newStranger(t, &net)
	d := a.spawnAs("n", nil)
	if err := b.Migrations().BindSource(d.Entity, a.Self()); !errors.Is(err, daemon.ErrNotFound) {
		t.Errorf("binding what is not expected: %v", err)
	}
	if err := b.ExpectMigration("n", d.Entity); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Migrations().BindSource(d.Entity, a.Self()); err != nil {
			t.Error(err)
		}
	}
	if err := b.Migrations().BindSource(d.Entity, c.mesh.Self()); !errors.Is(err, daemon.ErrTargetKnown) {
		t.Errorf("binding to another: %v", err)
	}
	c.refused(migration.Denied, b.Self(), &migration.Offer{Version: migration.Version, Identity: true, Entity: d.Entity, Name: "n", Kind: "n", Epoch: 1})
	if len(b.Migrations().Arriving()) != 0 {
		t.Error("another node's offer left a record")
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "1")
}
