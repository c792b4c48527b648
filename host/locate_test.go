package host_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/internal/residence"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/target"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// pretender is a peer that answers the question where a daemon is as it was told to,
// and counts what it is sent for daemons.
type pretender struct {
	answer  func(*channel.Locate) channel.Message
	carried chan *channel.Carry
}

func (*pretender) HandleStandby(context.Context, identity.NodeID, standby.Conn) {}

func (*pretender) HandleMigration(context.Context, identity.NodeID, migration.Conn) {}

func (p *pretender) HandleChannel(_ context.Context, _ identity.NodeID, _ mesh.ChannelAccess, c channel.Conn) {
	for {
		m, err := c.Recv()
		if err != nil {
			return
		}
		var out channel.Message
		switch m := m.(type) {
		case *channel.Locate:
			out = p.answer(m)
		case *channel.Carry:
			p.carried <- m
			last := m.Effects[len(m.Effects)-1]
			out = &channel.Carried{Epoch: last.Epoch, Number: last.Number}
		}
		if out == nil || c.Send(out) != nil || c.Flush() != nil {
			return
		}
	}
}

// claims answers with a statement of the daemon on the node, at the epoch, signed by
// whatever keys the pretender has.
func claims(t *testing.T, owner, node *identity.KeyPair, id identity.EntityID, epoch uint64, moves ...[]byte) func(*channel.Locate) channel.Message {
	return func(m *channel.Locate) channel.Message {
		now := time.Now().UnixNano()
		s := &residence.Statement{Version: residence.Version, Entity: id, Node: node.ID(), Epoch: epoch, Nonce: m.Nonce, Time: now, Expires: now + int64(time.Minute), Moves: moves}
		if err := host.SignResidence(s, owner, node); err != nil {
			t.Error(err)
			return nil
		}
		b, err := canon.Marshal(s)
		if err != nil {
			t.Error(err)
			return nil
		}
		return &channel.Located{Statement: b}
	}
}

// pretend joins a pretender to the net.
func pretend(t *testing.T, net *hosttest.Net) (*pretender, *identity.KeyPair) {
	t.Helper()
	key := newKey(t)
	mesh, err := net.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	p := &pretender{carried: make(chan *channel.Carry, 8)}
	mesh.Handle(p)
	return p, key
}

// A node that says that it has a daemon and has not its key is not believed, whatever
// it answers.
func TestNobodyIsBelievedWithoutTheDaemonsKey(t *testing.T) {
	var net hosttest.Net
	a := nativeNode(t, &net)
	p, node := pretend(t, &net)
	owner, own := newKey(t), newKey(t)
	id := owner.ID()
	for name, answer := range map[string]func(*channel.Locate) channel.Message{
		"a key of its own":       claims(t, own, node, id, 5),
		"no key":                 claims(t, identity.PublicOnly(id), node, id, 5),
		"epoch 2^62":             claims(t, own, node, id, 1<<62),
		"its own daemon instead": claims(t, own, node, own.ID(), 5),
		"another node's name":    claims(t, owner, newKey(t), id, 5),
		"another daemon's answer": func(m *channel.Locate) channel.Message {
			return claims(t, owner, node, id, 5)(&channel.Locate{Nonce: make([]byte, 16)})
		},
		"noise": func(*channel.Locate) channel.Message {
			return &channel.Located{Statement: bytes.Repeat([]byte{7}, 300)}
		},
		"another word": func(*channel.Locate) channel.Message { return &channel.Published{First: 1} },
		"nothing":      func(*channel.Locate) channel.Message { return nil },
	} {
		p.answer = answer
		if got, err := a.Believe(ctx, id, node.ID().Node(), 0); !errors.Is(err, daemon.ErrUnproven) {
			t.Errorf("%s: got %+v, %v, want ErrUnproven", name, got, err)
		}
	}
	p.answer = claims(t, owner, node, id, 5)
	if got, err := a.Believe(ctx, id, node.ID().Node(), 0); err != nil || got.Epoch != 5 || got.Rank != 1 {
		t.Errorf("with the key: %+v, %v", got, err)
	}
}

// Who had a daemon once, and gave it away, has its key for good. It is not believed any
// more by those who know of it, at whatever epoch.
func TestFormerHostIsNotBelieved(t *testing.T) {
	var net hosttest.Net
	a, b, c := nativeNode(t, &net), nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := b.spawnAs("n", key)
	if _, err := a.Believe(ctx, d.Entity, b.Self(), 0); err != nil {
		t.Fatal(err)
	}
	if err := b.moveWith(d.Entity, c.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	net.Settle()
	got, err := a.Believe(ctx, d.Entity, c.Self(), 0)
	if err != nil || got.Epoch != 2 || got.Rank != 2 {
		t.Fatalf("the new owner: %+v, %v", got, err)
	}
	// The former host and its accomplice, both with the daemon's key.
	p, node := pretend(t, &net)
	for _, epoch := range []uint64{1, 2, 3, 1 << 40} {
		p.answer = claims(t, key, node, d.Entity, epoch)
		if got, err := a.Believe(ctx, d.Entity, node.ID().Node(), 0); !errors.Is(err, daemon.ErrUnproven) {
			t.Errorf("epoch %d: got %+v, %v, want ErrUnproven", epoch, got, err)
		}
		// Its own word, or that of a third, is not the owner's.
		if got, err := a.Believe(ctx, d.Entity, node.ID().Node(), b.Self()); !errors.Is(err, daemon.ErrUnproven) {
			t.Errorf("epoch %d, on a former host's word: got %+v, %v, want ErrUnproven", epoch, got, err)
		}
	}
	// The owner's claim holds on.
	if got, err := a.Believe(ctx, d.Entity, c.Self(), 0); err != nil || got.Node != c.Self() {
		t.Errorf("the owner, afterwards: %+v, %v", got, err)
	}
	// A node that knows nothing weighs them: the owner accounts for more.
	e := nativeNode(t, &net)
	p.answer = claims(t, key, node, d.Entity, 1<<40)
	theirs, err := e.Places().Weigh(ctx, d.Entity, node.ID().Node(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := e.Places().Weigh(ctx, d.Entity, c.Self(), 0)
	if err != nil || ours.Rank <= theirs.Rank {
		t.Errorf("the owner's claim weighs %d, the pretender's %d; %v", ours.Rank, theirs.Rank, err)
	}
}

// A daemon without a key is where it has handed itself to, by the signature of the
// hand-over, and no other node says so.
func TestPublicOnlyDaemonIsWhereItHandedItselfTo(t *testing.T) {
	var net hosttest.Net
	a, b, c := nativeNode(t, &net), nativeNode(t, &net), nativeNode(t, &net)
	d := a.spawnAs("n", newKey(t))
	if err := a.moveWith(d.Entity, b.Self(), publicOnly); err != nil {
		t.Fatal(err)
	}
	net.Settle()
	if got, err := c.Believe(ctx, d.Entity, b.Self(), 0); err != nil || got.Epoch != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	p, node := pretend(t, &net)
	p.answer = claims(t, identity.PublicOnly(d.Entity), node, d.Entity, 3)
	if got, err := c.Believe(ctx, d.Entity, node.ID().Node(), 0); !errors.Is(err, daemon.ErrUnproven) {
		t.Errorf("another: got %+v, %v, want ErrUnproven", got, err)
	}
}

// A peer that offers more daemons than it may have under way is refused by name, and
// another peer is not: its places and bytes are its own.
func TestUnfinishedArrivalsAreBounded(t *testing.T) {
	var net hosttest.Net
	b := nativeNode(t, &net)
	c, other := newStranger(t, &net), newStranger(t, &net)
	open := func(s *stranger) migration.Conn {
		t.Helper()
		p, err := s.mesh.Peer(b.Self())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := p.OpenMigration(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Abort)
		return conn
	}
	offer := func(s *stranger) migration.Message {
		t.Helper()
		conn := open(s)
		id := newKey(t).ID()
		if err := conn.Send(&migration.Offer{Version: migration.Version, Entity: id, Name: id.String()[:20], Kind: "n", Epoch: 1, Identity: true}); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for range target.ArrivalsOfPeer {
		if m := offer(c); m == nil {
			t.Fatal("no answer")
		} else if _, ok := m.(*migration.Accept); !ok {
			t.Fatalf("answered with %+v", m)
		}
	}
	if r, ok := offer(c).(*migration.Refuse); !ok || r.Code != migration.BufferFull {
		t.Errorf("one more: %+v", r)
	}
	if m, ok := offer(other).(*migration.Accept); !ok {
		t.Errorf("another peer: %+v", m)
	}
	if got := b.Migrations().Arrivals(); got.Unfinished != target.ArrivalsOfPeer+1 {
		t.Errorf("%+v", got)
	}
}

// A name that a daemon is to have here is free until the daemon has proven itself.
func TestNameIsFreeUntilTheStateHasCome(t *testing.T) {
	var net hosttest.Net
	b := nativeNode(t, &net)
	c := newStranger(t, &net)
	p, err := c.mesh.Peer(b.Self())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.OpenMigration(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Abort()
	if err := conn.Send(&migration.Offer{Version: migration.Version, Entity: newKey(t).ID(), Name: "bank", Kind: "n", Epoch: 1, Identity: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := conn.Recv(); err != nil {
		t.Fatal(m, err)
	}
	if _, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "bank"}); err != nil {
		t.Errorf("the name is taken by what has not come: %v", err)
	}
}
