package host_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// stranger is a node that speaks the protocol as it likes.
type stranger struct {
	t    *testing.T
	mesh *hosttest.Mesh
}

func newStranger(t *testing.T, net *hosttest.Net) *stranger {
	mesh, err := net.Join(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t, mesh}
}

// say opens a stream, sends the messages and returns the first answer other
// than Accept, Arrived and Ready.
func (s *stranger) say(to identity.NodeID, messages ...migration.Message) migration.Message {
	s.t.Helper()
	p, err := s.mesh.Peer(to)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := p.OpenMigration(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Abort()
	for _, m := range messages {
		if err := c.Send(m); err != nil {
			break // it has refused already
		}
	}
	for {
		m, err := c.Recv()
		switch m.(type) {
		case *migration.Accept, *migration.Arrived, *migration.Ready, *migration.Caught:
			continue
		}
		if err != nil {
			return nil
		}
		return m
	}
}

func (s *stranger) refused(want migration.Code, to identity.NodeID, messages ...migration.Message) {
	s.t.Helper()
	r, ok := s.say(to, messages...).(*migration.Refuse)
	if !ok || r.Code != want {
		s.t.Errorf("answered with %+v, want %s", r, want)
	}
}

// F058: whoever is not part of a migration changes nothing by what it says.
func TestStrangersAreNotHeard(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	c := newStranger(t, &net)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	a.wantSend(d.Entity, "x", "1")
	a.migrate(d.Entity, b)
	head := make([]byte, 32)
	release := &migration.Release{Entity: d.Entity, Epoch: 3, Sequence: 1, Head: head}
	c.refused(migration.StateFailed, b.Self(), release)                                             // it has no such migration
	c.refused(migration.StateFailed, a.Self(), release)                                             // nor has the source
	c.refused(migration.Cancelled, b.Self(), &migration.Ask{Entity: d.Entity})                      // nor is one under way
	c.refused(migration.ProtocolError, b.Self(), &migration.Done{Epoch: 9})                         // out of place
	c.refused(migration.ProtocolError, b.Self(), &migration.Prepared{Head: head})                   // out of place
	c.refused(migration.ProtocolError, b.Self(), &migration.Tail{Last: true})                       // out of place
	c.refused(migration.ProtocolError, b.Self(), &migration.Ready{Head: head})                      // out of place
	c.refused(migration.ProtocolError, b.Self(), &migration.SnapshotChunk{Bytes: head, Last: true}) // out of place
	c.refused(migration.ProtocolError, b.Self(), migration.NewRefuse(migration.Failf(1, "")))       // of nothing
	b.wantSend(d.Entity, "x", "2")
	if info, err := b.Daemons().Inspect(d.Entity); err != nil || info.Epoch != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	var moved *daemon.MovedError
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{}); !errors.As(err, &moved) || moved.Node != b.Self() {
		t.Errorf("the source: %v", err)
	}
}

// F030, F072, F077: an offer that is stale, or not followed by what it
// announced, is refused with a reason, and leaves nothing behind.
func TestBadOffersLeaveNothing(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	c := newStranger(t, &net)
	wasm := guest(t, "c/counter.wasm")
	digest := sha256.Sum256(wasm)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "moved")
	a.wantSend(d.Entity, "x", "1")
	taken, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	state, err := taken.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a.migrate(d.Entity, b)

	other := newKey(t).ID()
	offer := func(change func(*migration.Offer)) *migration.Offer {
		o := &migration.Offer{Version: migration.Version, Identity: true, Entity: other, Name: "n", Kind: "counter", Module: digest[:], ModuleSize: uint64(len(wasm)), Epoch: 1}
		change(o)
		return o
	}
	same := func(*migration.Offer) {}
	last := &migration.SnapshotChunk{Bytes: state, Last: true}
	for _, tc := range []struct {
		name string
		want migration.Code
		say  []migration.Message
	}{
		{"another version", migration.ProtocolError, []migration.Message{offer(func(o *migration.Offer) { o.Version = migration.Lasting + 1 })}},
		{"a stale epoch", migration.StaleEpoch, []migration.Message{offer(func(o *migration.Offer) { o.Entity = d.Entity })}},
		{"a bad name", migration.ProtocolError, []migration.Message{offer(func(o *migration.Offer) { o.Name = "no spaces" })}},
		{"a module over the limit", migration.ModuleRefused, []migration.Message{offer(func(o *migration.Offer) { o.ModuleSize, o.Module, o.Kind = 1<<40, make([]byte, 32), "k" })}},
		{"a module that nobody has", migration.FactoryNotFound, []migration.Message{offer(func(o *migration.Offer) { o.ModuleSize, o.Module, o.Kind = 0, make([]byte, 32), "k" })}},
		{"no such native kind", migration.FactoryNotFound, []migration.Message{offer(func(o *migration.Offer) { o.Module, o.Kind = nil, "native" })}},
		{"history that was not announced", migration.ProtocolError, []migration.Message{offer(same), &migration.HistoryBatch{Records: [][]byte{{1}}}}},
		{"history with a gap", migration.ProtocolError, []migration.Message{offer(func(o *migration.Offer) { o.History = 9 }), &migration.HistoryBatch{From: 3, Records: [][]byte{{1}}}}},
		{"history that is missing", migration.ProtocolError, []migration.Message{offer(func(o *migration.Offer) { o.History = 9 }), last}},
		{"more module than announced", migration.ProtocolError, []migration.Message{offer(func(o *migration.Offer) { o.ModuleSize = 2 }), &migration.ModuleChunk{Bytes: []byte("123")}}},
		{"another module", migration.ModuleRefused, []migration.Message{
			offer(func(o *migration.Offer) { o.Module, o.Kind, o.ModuleSize = make([]byte, 32), "k", 3 }), &migration.ModuleChunk{Bytes: []byte("123")}, last}},
		{"another daemon's snapshot", migration.StateFailed, []migration.Message{offer(same), last}},
		{"a snapshot that is none", migration.StateFailed, []migration.Message{offer(same), &migration.SnapshotChunk{Bytes: []byte("x"), Last: true}}},
		{"a release at once", migration.ProtocolError, []migration.Message{offer(same), &migration.Release{Entity: other, Epoch: 2, Head: make([]byte, 32)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := fmt.Sprint(a.Daemons().List(), a.Kinds().List())
			s := *c
			s.t = t
			s.refused(tc.want, a.Self(), tc.say...)
			net.Settle()
			if after := fmt.Sprint(a.Daemons().List(), a.Kinds().List()); after != before || len(a.Migrations().Arriving()) != 0 {
				t.Errorf("before %s\nafter  %s, %d arriving", before, after, len(a.Migrations().Arriving()))
			}
		})
	}
}

// An offer of an attempt that its source gave up can be late: it arrives when
// a later attempt is prepared, or released. It must not push that one out.
func TestLateOfferPushesNobodyOut(t *testing.T) {
	at := make(chan struct{}) // the release is about to be sent
	goOn := make(chan struct{})
	var stalled atomic.Bool
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Release); ok && stalled.CompareAndSwap(false, true) {
			close(at)
			<-goOn
		}
		return true
	}}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	b.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	a.wantSend(d.Entity, "x", "1")
	m, err := a.StartMigration(ctx, d.Entity, b.Self())
	if err != nil {
		t.Fatal(err)
	}
	<-at
	digest := sha256.Sum256(guest(t, "c/counter.wasm"))
	late := &stranger{t, a.mesh}
	answer := late.say(b.Self(), &migration.Offer{Version: migration.Version, Identity: true, Migration: migration.ID{9}, Entity: d.Entity, Name: "c", Kind: "counter",
		Module: digest[:], Epoch: 1})
	if r, ok := answer.(*migration.Refuse); !ok || r.Code != migration.AlreadyPresent && r.Code != migration.AlreadyMigrating {
		t.Errorf("the late offer was answered with %+v", answer)
	}
	close(goOn)
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := m.Wait(limit); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "2")
}
