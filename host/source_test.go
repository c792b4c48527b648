package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

func TestM01_NotStarted(t *testing.T) {
	r := bare(t)
	for _, o := range []host.MigrationOptions{{}, {Source: 7}} {
		if _, err := r.StartMigrationWith(ctx, newKey(t).ID(), 8, o); !errors.Is(err, daemon.ErrNotReady) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// While a daemon moves there is one record of it, which says from where to
// where, and where it stands; the daemon is shown to move and serves. Afterwards
// there is none.
func TestM20_M30_M40_M80_M83_M84_M98_F24_F69_OneRecordWhileItMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		p := &puppet{}
		if err := a.RegisterFactory("p", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return p, nil })); err != nil {
			t.Fatal(err)
		}
		if err := b.RegisterFactory("p", nativeFactory(new(int))); err != nil {
			t.Fatal(err)
		}
		if err := a.Stop(ctx, d.Entity); err != nil {
			t.Fatal(err)
		}
		d = a.spawnAs("p", nil)
		a.wantSend(d.Entity, "x", "1")
		capture := make(chan struct{})
		p.onState = func() { <-capture }
		g := newGate(&migration.Arrived{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		if m.Phase() != migration.Snapshot { // M30
			t.Errorf("a new migration is in %s", m.Phase())
		}
		synctest.Wait()
		if m.Phase() != migration.Snapshot {
			t.Errorf("without its state it is in %s", m.Phase())
		}
		p.onState = nil
		close(capture)
		<-g.reached
		if at, ok := a.MigrationPhase(d.Entity); !ok || at != migration.Transfer || m.Phase() != migration.Transfer { // M80
			t.Errorf("phase %s, %v", at, ok)
		}
		all := a.Migrations().Running()
		if len(all) != 1 || all[0] != m || m.Entity() != d.Entity || m.Source() != a.Self() || m.Target() != b.Self() || m.Retries() != 0 { // M98
			t.Errorf("migrations %v", all)
		}
		if i, err := a.Daemons().Inspect(d.Entity); err != nil || i.State != "migrating" || i.Node != a.Self() { // M40, M83
			t.Errorf("%+v, %v", i, err)
		}
		for _, want := range []string{"2", "3"} { // M84: it serves, and what it does comes along
			a.wantSend(d.Entity, "x", want)
		}
		g.open()
		if _, err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if _, ok := a.MigrationPhase(d.Entity); ok || len(a.Migrations().Running()) != 0 || a.DaemonCount() != 0 || b.DaemonCount() != 1 { // M20
			t.Error("the record outlived the migration")
		}
		for range 3 { // F69: that the record is gone is not taken for a failure
			if _, err := m.Wait(ctx); err != nil {
				t.Error(err)
			}
		}
		b.wantSend(d.Entity, "x", "4")
	})
}

func TestM21_F6_RejectedDuplicateMovesNothing(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	key := newKey(t)
	d := a.spawnAs("n", key)
	a.wantSend(d.Entity, "x", "1")
	a.wantSend(d.Entity, "x", "2")
	if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Identity: key}); !errors.Is(err, daemon.ErrAlreadyPresent) {
		t.Fatal(err)
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "3")
}

// Of many that want to move one daemon one does; its state is taken once, with
// no table locked meanwhile.
func TestM42_M82_F22_F23_OneOfManyMovesIt(t *testing.T) {
	var net hosttest.Net
	a, b, c := nativeNode(t, &net), nativeNode(t, &net), nativeNode(t, &net)
	taken := 0
	p := &puppet{}
	p.onState = func() { taken += 1 + 0*a.DaemonCount() + 0*len(a.Migrations().Running()) }
	for _, n := range []*node{a, b, c} {
		f := nativeFactory(new(int))
		if n == a {
			f = daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return p, nil })
		}
		if err := n.RegisterFactory("p", f); err != nil {
			t.Fatal(err)
		}
	}
	d := a.spawnAs("p", nil)
	taken = 0
	g := newGate(&migration.Arrived{})
	net.Filter = g.filter
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*host.Migration
	for i := range 32 {
		to := []*node{b, c}[i%2]
		wg.Go(func() {
			m, err := a.StartMigrationWith(ctx, d.Entity, to.Self(), host.MigrationOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, m)
			} else if !failedWith(err, migration.AlreadyMigrating) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d won", len(won))
	}
	<-g.reached
	to, other := b, c
	if won[0].Target() == c.Self() {
		to, other = c, b
	}
	// M82: the others changed nothing of the first.
	if _, err := a.StartMigrationWith(ctx, d.Entity, other.Self(), host.MigrationOptions{}); !failedWith(err, migration.AlreadyMigrating) {
		t.Error(err)
	}
	if err := a.Stop(ctx, d.Entity); !errors.Is(err, daemon.ErrAlreadyMigrating) {
		t.Errorf("stopping it meanwhile: %v", err)
	}
	g.open()
	if _, err := won[0].Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if to.DaemonCount() != 1 || other.DaemonCount() != 0 || taken != 1 {
		t.Errorf("%d at its target, %d elsewhere; its state was taken %d times", to.DaemonCount(), other.DaemonCount(), taken)
	}
}

// What a daemon does while it moves reaches the target in order and once; what
// comes while it is held is answered there.
func TestM43_M44_M45_M47_M60_M76_M78_F38_WhatHappensMeanwhileComesAlong(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		gates := []*gate{newGate(&migration.Arrived{}), newGate(&migration.Prepared{})}
		var tail []string // where records went that were sent after the snapshot
		net.Filter = func(from, to identity.NodeID, m migration.Message) bool {
			if m, ok := m.(*migration.Tail); ok {
				tail = append(tail, fmt.Sprintf("%d+%d %v", m.From, len(m.Records), m.Last))
			}
			for _, g := range gates {
				g.filter(from, to, m)
			}
			return true
		}
		for i := range 10 {
			a.wantSend(d.Entity, "x", fmt.Sprint(i+1))
		}
		if len(tail) != 0 { // M44
			t.Errorf("records were sent of a daemon that does not move: %v", tail)
		}
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-gates[0].reached
		for i := range 3 { // M43, M60: 11 to 13, after the snapshot at 10
			a.wantSend(d.Entity, "x", fmt.Sprint(i+11))
		}
		gates[0].open()
		<-gates[1].reached
		held := make(chan error, 1) // M76: the fourth comes when all is drained and nothing decided
		go func() { held <- second(a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})) }()
		synctest.Wait()
		if b.DaemonCount() != 0 || m.Phase() != migration.Replay {
			t.Errorf("phase %s, %d daemons on the target", m.Phase(), b.DaemonCount())
		}
		gates[1].open()
		if _, err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		var moved *daemon.MovedError
		if err := <-held; !errors.As(err, &moved) || moved.Node != b.Self() || moved.Epoch != 2 { // M45
			t.Errorf("the event that was held: %v", err)
		}
		if err := second(a.Deliver(ctx, d.Entity, daemon.Event{})); !errors.As(err, &moved) || a.DaemonCount() != 0 { // M47
			t.Errorf("a later event: %v", err)
		}
		if len(tail) == 0 || tail[0] != "12+3 false" && tail[0] != "12+3 true" { // record 0 is the beginning, 1 that senders are not seen
			t.Errorf("the tail went as %v", tail)
		}
		if i, err := b.Daemons().Inspect(d.Entity); err != nil || i.EventsProcessed != 13 || i.EventsEmitted != 13 || i.Sequence != 13 || i.Epoch != 2 { // M78
			t.Errorf("%+v, %v", i, err)
		}
		b.wantSend(d.Entity, "x", "14") // the fourth, once
		if err := b.proves(d.Entity); err != nil {
			t.Error(err)
		}
	})
}

// A daemon that does more while it moves than may be kept in memory goes on where
// it is, if there is no store to read it from; nothing of what it did is lost.
func TestM51_F35_TooMuchMeanwhile(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", func(o *host.Options) { o.Limits.TailBytes, o.Store = 4096, nil })
	b := nativeNode(t, &net)
	if err := a.RegisterFactory("n", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", nil)
	g := newGate(&migration.Arrived{})
	net.Filter = g.filter
	m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
	<-g.reached
	for i := range 100 {
		a.wantSend(d.Entity, "x", fmt.Sprint(i+1))
	}
	g.open()
	if _, err := m.Wait(ctx); !failedWith(err, migration.BufferFull) {
		t.Errorf("got %v", err)
	}
	a.wantSend(d.Entity, "x", "101")
	net.Settle()
	if b.DaemonCount() != 0 || len(b.Migrations().Arriving()) != 0 {
		t.Error("the target kept something")
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil { // in peace it goes
		t.Error(err)
	}
	b.wantSend(d.Entity, "x", "102")
}

// Where there is a store, what does not fit is read from it.
func TestMuchMeanwhileIsReadFromTheStore(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", func(o *host.Options) { o.Limits.TailBytes = 4096 })
	b := nativeNode(t, &net)
	if err := a.RegisterFactory("n", nativeFactory(new(int))); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", nil)
	g := newGate(&migration.Arrived{})
	net.Filter = g.filter
	m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
	<-g.reached
	for i := range 100 {
		a.wantSend(d.Entity, "x", fmt.Sprint(i+1))
	}
	g.open()
	if _, err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "101")
	if err := b.proves(d.Entity); err != nil {
		t.Error(err)
	}
}

// A migration is cancelled in whatever phase, from here or by who ordered it:
// its records are gone, the daemon serves where it was, and can move afresh.
// Only after the release it cannot be, and goes on to its end.
func TestM50_M68_M85_M86_M87_F25_F70_CancelInEachPhase(t *testing.T) {
	for _, at := range []struct {
		phase migration.Phase
		held  migration.Message // by which the phase is held up; nil: by the daemon's code
	}{
		{migration.Snapshot, nil}, {migration.Transfer, &migration.Arrived{}}, {migration.Restore, &migration.Ready{}},
		{migration.Replay, &migration.Prepared{}}, {migration.Cutover, &migration.Done{}},
	} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ordered %v", at.phase, ordered), func(t *testing.T) {
				inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
					cancelIn(t, net, a, b, at.phase, at.held, ordered)
				})
			})
		}
	}
}

func cancelIn(t *testing.T, net *hosttest.Net, a, b *node, phase migration.Phase, held migration.Message, ordered bool) {
	p := &puppet{}
	if err := errors.Join(a.RegisterFactory("p", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return p, nil })),
		b.RegisterFactory("p", nativeFactory(new(int)))); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("p", nil)
	a.wantSend(d.Entity, "x", "1")
	g := newGate(held)
	net.Filter = g.filter
	if held == nil {
		p.onState = func() { <-g.await }
	}
	orchestrator, o := a, host.MigrationOptions{}
	if ordered {
		orchestrator, o = nativeNode(t, net), host.MigrationOptions{Source: a.Self()}
	}
	m := begin(t, orchestrator, d.Entity, b.Self(), o)
	synctest.Wait()
	if m.Phase() != phase {
		t.Fatalf("held in %s", m.Phase())
	}
	m.Cancel()
	synctest.Wait()
	if phase == migration.Cutover {
		select {
		case <-m.Done():
			t.Error("cancelled after the release")
		default:
		}
		g.open()
		if _, err := m.Wait(ctx); err != nil {
			t.Errorf("after the release: %v", err)
		}
		b.wantSend(d.Entity, "x", "2")
		return
	}
	p.onState = nil
	if held == nil {
		g.open()
	}
	if _, err := m.Wait(ctx); !failedWith(err, migration.Cancelled) || m.Phase() != migration.Aborted {
		t.Errorf("in %s: %v", m.Phase(), err)
	}
	if len(orchestrator.Migrations().Running()) != 0 || len(a.Migrations().Running()) != 0 {
		t.Error("a record is left")
	}
	a.wantSend(d.Entity, "x", "2") // at once: whatever the target still does
	g.open()
	net.Settle()
	m = begin(t, orchestrator, d.Entity, b.Self(), o)
	if _, err := m.Wait(ctx); err != nil {
		t.Errorf("afresh: %v", err)
	}
	b.wantSend(d.Entity, "x", "3")
}

func TestM90_TwoDaemonsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		g := newGate(&migration.Arrived{})
		net.Filter = g.filter
		slow := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		quick := a.spawnAs("n", nil)
		if err := a.moveWith(quick.Entity, b.Self(), host.MigrationOptions{}); err != nil {
			t.Error(err)
		}
		if p, ok := a.MigrationPhase(d.Entity); !ok || p != migration.Transfer || slow.Phase() != migration.Transfer {
			t.Errorf("the other is in %s", p)
		}
		g.open()
		if _, err := slow.Wait(ctx); err != nil || b.DaemonCount() != 2 {
			t.Error(err)
		}
	})
}

// liar is a peer that answers a source as it was told to.
type liar struct {
	answers []migration.Message
	heard   chan migration.Message // the source's Refuse, or its Release
}

func (*liar) HandleStandby(context.Context, identity.NodeID, standby.Conn) {}

func (*liar) HandleChannel(context.Context, identity.NodeID, mesh.ChannelAccess, channel.Conn) {}

func (l *liar) HandleMigration(_ context.Context, _ identity.NodeID, c migration.Conn) {
	for {
		m, err := c.Recv()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *migration.Offer, *migration.BareOffer:
			for _, a := range l.answers {
				if c.Send(a) != nil {
					return
				}
			}
		case *migration.Refuse, *migration.Release:
			select {
			case l.heard <- m:
			default:
			}
			return
		}
	}
}

// A target that claims what is not so, or answers out of turn, gets nothing: the
// source releases no daemon to it, and goes on serving.
func TestM32_M48_F29_F32_LyingTargets(t *testing.T) {
	var net hosttest.Net
	a := nativeNode(t, &net)
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	accept, arrived := &migration.Accept{}, &migration.Arrived{}
	other := bytes.Repeat([]byte{9}, 32)
	type said = []migration.Message
	next := uint64(2) // what the daemon will put out; before it, all three counts are one less
	for _, tc := range []struct {
		name    string
		answers func(n uint64, head []byte) said
		want    migration.Code
	}{
		{"done at once", func(uint64, []byte) said { return said{&migration.Done{Epoch: 2}} }, migration.ProtocolError},
		{"done instead of ready", func(uint64, []byte) said { return said{accept, arrived, &migration.Done{Epoch: 2}} }, migration.ProtocolError},
		{"done instead of prepared", func(n uint64, head []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n, Head: head}, &migration.Done{Epoch: 2}}
		}, migration.ProtocolError},
		{"ready before it arrived", func(n uint64, head []byte) said { return said{accept, &migration.Ready{Sequence: n, Head: head}} }, migration.ProtocolError},
		{"another sequence", func(n uint64, head []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n + 1, Head: head}}
		}, migration.StateFailed},
		{"another head", func(n uint64, _ []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n, Head: other}}
		}, migration.StateFailed},
		{"prepared at another head", func(n uint64, head []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n, Head: head}, &migration.Prepared{Sequence: n, Applied: n, Head: other}}
		}, migration.StateFailed},
		{"prepared after other events", func(n uint64, head []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n, Head: head}, &migration.Prepared{Sequence: n, Applied: n + 1, Head: head}}
		}, migration.StateFailed},
		{"prepared at another sequence", func(n uint64, head []byte) said {
			return said{accept, arrived, &migration.Ready{Sequence: n, Head: head}, &migration.Prepared{Sequence: n - 1, Applied: n, Head: head}}
		}, migration.StateFailed},
		{"a module that is not there", func(uint64, []byte) said { return said{&migration.Accept{NeedModule: true}} }, migration.FactoryNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now, err := a.Daemons().Inspect(d.Entity)
			if err != nil {
				t.Fatal(err)
			}
			l := &liar{tc.answers(now.Sequence, now.Head[:]), make(chan migration.Message, 1)}
			s := newStranger(t, &net)
			s.mesh.Handle(l)
			if err := a.moveWith(d.Entity, s.mesh.Self(), publicOnly); !failedWith(err, tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			net.Settle()
			select {
			case m := <-l.heard:
				if _, ok := m.(*migration.Release); ok {
					t.Error("the daemon was released")
				}
			default:
			}
			a.wantSend(d.Entity, "x", fmt.Sprint(next))
			next++
			if len(a.Migrations().Running()) != 0 {
				t.Error("a record is left")
			}
		})
	}
}
