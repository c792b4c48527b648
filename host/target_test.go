package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// records returns the daemon's history, as the node's store keeps it.
func (n *node) records(id identity.EntityID) [][]byte {
	n.t.Helper()
	end, err := n.store.HistoryEnd(id)
	if err != nil {
		n.t.Fatal(err)
	}
	var out [][]byte
	err = n.store.ReadHistory(id, 0, end, func(_ uint64, rec []byte) error {
		out = append(out, append([]byte(nil), rec...))
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// script is what a source says of the daemon up to its tail: an offer, the
// history, the snapshot. The daemon's records from there on are returned too,
// once events have been sent to it: after of them, which it counts.
func (n *node) script(d daemon.Info, after int) (say []migration.Message, tail [][]byte) {
	n.t.Helper()
	s, err := n.Snapshot(ctx, d.Entity)
	if err != nil {
		n.t.Fatal(err)
	}
	encoded, err := s.Encode()
	if err != nil {
		n.t.Fatal(err)
	}
	history := n.records(d.Entity)
	for range after {
		n.send(d.Entity, "x")
	}
	say = []migration.Message{
		&migration.Offer{Version: migration.Version, Identity: true, Migration: migration.ID{1}, Entity: d.Entity, Name: d.Name, Kind: d.Kind, Epoch: d.Epoch, History: uint64(len(history))},
		&migration.HistoryBatch{Records: history}, &migration.SnapshotChunk{Bytes: encoded, Last: true},
	}
	return say, n.records(d.Entity)[len(history):]
}

// nothing checks that the node has and expects no daemon.
func (n *node) nothing() {
	n.t.Helper()
	if n.DaemonCount() != 0 || len(n.Migrations().Arriving()) != 0 {
		n.t.Errorf("%d daemons, %d arriving", n.DaemonCount(), len(n.Migrations().Arriving()))
	}
}

// Records that do not follow on what the target has are refused at once: nothing
// is kept for a gap to be filled, and nothing is left.
func TestM62_M63_GapsAreRefused(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	say, tail := a.script(d, 3)
	from := uint64(len(a.records(d.Entity)) - 3)
	source := &stranger{t, a.mesh}
	big := make([][]byte, 8)
	for i := range big {
		big[i] = make([]byte, 1<<20)
	}
	for name, tc := range map[string]struct {
		tails []migration.Message
		want  migration.Code
	}{
		"a gap at first":    {[]migration.Message{&migration.Tail{From: from + 1, Records: tail[1:]}}, migration.ProtocolError},
		"M62 third first":   {[]migration.Message{&migration.Tail{From: from + 2, Records: tail[2:]}, &migration.Tail{From: from, Records: tail[:2]}}, migration.ProtocolError},
		"a gap later":       {[]migration.Message{&migration.Tail{From: from, Records: tail[:1]}, &migration.Tail{From: from + 2, Records: tail[2:]}}, migration.ProtocolError},
		"the same again":    {[]migration.Message{&migration.Tail{From: from, Records: tail[:1]}, &migration.Tail{From: from, Records: tail[:1]}}, migration.ProtocolError},
		"content of later":  {[]migration.Message{&migration.Tail{From: from, Records: tail[1:]}}, migration.StateFailed},
		"M63 much of it":    {[]migration.Message{&migration.Tail{From: from + 1, Records: big}}, migration.ProtocolError},
		"no record at all":  {[]migration.Message{&migration.Tail{From: from, Records: [][]byte{{77}}}}, migration.StateFailed},
		"another beginning": {[]migration.Message{&migration.Tail{From: from, Records: a.records(d.Entity)[:1]}}, migration.StateFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := *source
			s.t = t
			s.refused(tc.want, b.Self(), append(say[:3:3], tc.tails...)...)
			net.Settle()
			b.nothing()
		})
	}
	// In order it is taken; what becomes of it then is the source's to say: here, that it keeps the daemon.
	answer := source.say(b.Self(), append(say[:3:3], &migration.Tail{From: from, Records: tail[:1]}, &migration.Tail{From: from + 1, Records: tail[1:], Last: true})...)
	if p, ok := answer.(*migration.Prepared); !ok || p.Sequence != 4 || p.Applied != 4 {
		t.Errorf("answered with %+v", answer)
	}
}

// A daemon that its code fails to follow is not taken in part: the target keeps
// nothing, the source keeps all, and the next attempt begins afresh.
func TestM75_M77_F39_F40_FailedReplay(t *testing.T) {
	var net hosttest.Net
	a, b, c := nativeNode(t, &net), start(t, &net, newKey(t), "", nil), nativeNode(t, &net)
	failing := true
	if err := b.RegisterFactory("n", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		p, seen := &puppet{}, 0
		p.onProcess = func(string) error {
			if seen++; seen == 3 && failing {
				return errors.New("the third is too much")
			}
			return nil
		}
		return p, nil
	})); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("n", nil)
	for range 2 {
		g := newGate(&migration.Arrived{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		for range 5 {
			a.send(d.Entity, "x")
		}
		g.open()
		_, err := m.Wait(ctx)
		if !failedWith(err, migration.StateFailed) || !strings.Contains(err.Error(), "the third is too much") { // M77
			t.Errorf("got %v", err)
		}
		net.Settle()
		b.nothing()
	}
	a.wantSend(d.Entity, "x", "11")
	failing = false
	for _, to := range []*node{b, c} {
		from := a
		if to == c {
			from = b
		}
		if err := from.moveWith(d.Entity, to.Self(), host.MigrationOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.wantSend(d.Entity, "x", "12") // none twice
	if err := c.proves(d.Entity); err != nil {
		t.Error(err)
	}
}

// taps remembers the releases that are sent.
type taps struct {
	mu       sync.Mutex
	releases []*migration.Release
}

func (r *taps) filter(_, _ identity.NodeID, m migration.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := m.(*migration.Release); ok {
		r.releases = append(r.releases, m)
	}
	return true
}

// What is repeated to a target that has the daemon changes nothing and is
// answered as before; what comes late is refused.
func TestM64_M65_M66_M67_M69_M70_M71_M72_F36_F37_F43_F44_F45_AfterActivation(t *testing.T) {
	taps := &taps{}
	net := hosttest.Net{Filter: taps.filter}
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	source := &stranger{t, a.mesh}
	again := func(r *migration.Release, want uint64) {
		t.Helper()
		for range 2 {
			if m, ok := source.say(b.Self(), r).(*migration.Done); !ok || m.Epoch != want {
				t.Errorf("the repeated release was answered with %+v", m)
			}
		}
	}
	late := func() {
		t.Helper()
		for _, m := range []migration.Message{&migration.Tail{From: 2, Records: [][]byte{{1}}}, &migration.Tail{Last: true}} {
			source.refused(migration.ProtocolError, b.Self(), m)
		}
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	first := taps.releases[0]
	again(first, 2) // M70
	late()          // M64, M65
	if b.DaemonCount() != 1 || len(b.Migrations().Arriving()) != 0 {
		t.Errorf("M67: %d daemons, %d arriving", b.DaemonCount(), len(b.Migrations().Arriving()))
	}
	b.wantSend(d.Entity, "x", "2") // M66: as if nothing had been said
	if i, err := b.Daemons().Inspect(d.Entity); err != nil || i.Epoch != 2 || i.EventsProcessed != 2 {
		t.Errorf("%+v, %v", i, err)
	}
	// The daemon goes back and comes again: the old release is no answer to the new question.
	if err := b.moveWith(d.Entity, a.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	again(first, 2) // its source hears that this was done, though the daemon has left since
	a.wantSend(d.Entity, "x", "3")
	g := newGate(&migration.Release{})
	net.Filter = func(from, to identity.NodeID, m migration.Message) bool {
		if m == migration.Message(first) { // the stranger's
			return true
		}
		return taps.filter(from, to, m) && g.filter(from, to, m)
	}
	m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
	<-g.reached
	source.refused(migration.ProtocolError, b.Self(), first) // M71: it activates nothing
	if b.DaemonCount() != 0 {
		t.Error("M71: an old release activated a new daemon")
	}
	g.open()
	if _, err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	again(taps.releases[len(taps.releases)-1], 4) // M72: the new one counts
	b.wantSend(d.Entity, "x", "4")
	// A daemon that was stopped is not brought back by any of them.
	if err := b.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	for _, r := range taps.releases { // M69
		source.say(b.Self(), r)
	}
	late()
	b.nothing()
}

// The answer Done is lost: the source says its release again, the target answers
// again, and nobody serves the daemon twice.
func TestM70_M106_F43_LostConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := 3
		net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
			if _, ok := m.(*migration.Done); ok && lose > 0 {
				lose--
				return false
			}
			return true
		}}
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		d := a.spawnAs("n", nil)
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		synctest.Wait()
		if m.Phase() != migration.Cutover || len(a.Migrations().Running()) != 1 || b.DaemonCount() != 1 { // M106: the record is kept
			t.Errorf("phase %s, %d records, %d daemons on the target", m.Phase(), len(a.Migrations().Running()), b.DaemonCount())
		}
		if rep, err := m.Wait(ctx); err != nil || rep.Epoch != 2 || lose != 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if len(a.Migrations().Running()) != 0 || a.DaemonCount() != 0 {
			t.Error("M106: the record outlived the confirmation")
		}
		b.wantSend(d.Entity, "x", "1")
	})
}

// A release that comes while the daemon is activated is answered like any other:
// there is no moment at which the target knows nothing of the daemon.
func TestM73_F41_NoMomentOfNotKnowing(t *testing.T) {
	for range 25 {
		var net hosttest.Net
		a := nativeNode(t, &net)
		source := &stranger{t, a.mesh}
		b := nativeNode(t, &net)
		var wg sync.WaitGroup
		var once sync.Once
		net.Filter = func(from, _ identity.NodeID, m migration.Message) bool {
			r, ok := m.(*migration.Release)
			if !ok || from != a.Self() {
				return true
			}
			once.Do(func() {
				for range 4 {
					wg.Go(func() {
						for range 50 {
							if done, ok := source.say(b.Self(), r).(*migration.Done); !ok || done.Epoch != 2 {
								t.Errorf("answered with %+v", done)
								return
							}
						}
					})
				}
			})
			return true
		}
		d := a.spawnAs("n", nil)
		if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		b.wantSend(d.Entity, "x", "1")
		a.stop()
		b.stop()
	}
}

// Of activating a prepared daemon and dropping it, one happens, and the answer
// says which: no release is confirmed of a daemon that was dropped.
func TestM74_F42_ActivatedOrDropped(t *testing.T) {
	won := 0
	for trial := range 40 {
		g := newGate(&migration.Release{})
		net := hosttest.Net{Filter: g.filter}
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		d := a.spawnAs("n", nil)
		begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		activate, discard := b.Held(d.Entity)
		if activate == nil {
			t.Fatal("nothing is held")
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		yes, no := 0, 0
		for i := range 8 {
			if i%2 == trial%2 {
				wg.Go(discard)
				continue
			}
			wg.Go(func() {
				err := activate(g.message.(*migration.Release))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					yes++
				} else {
					no++
				}
			})
		}
		wg.Wait()
		if here := b.DaemonCount() == 1; yes > 0 && no > 0 || here != (yes > 0) || len(b.Migrations().Arriving()) != 0 {
			t.Errorf("%d times activated, %d times not; the daemon is here: %v", yes, no, here)
		}
		if yes > 0 {
			won++
		}
		g.open()
		a.stop() // where the daemon was dropped it would say its release for ever
		b.stop()
	}
	t.Logf("activated in %d of 40", won)
}

// What names a daemon that never came is answered, and nothing happens.
func TestM49_M79_M110_F33_UnknownDaemons(t *testing.T) {
	var net hosttest.Net
	a := nativeNode(t, &net)
	c := newStranger(t, &net)
	d := a.spawnAs("n", nil)
	head := make([]byte, 32)
	for _, id := range []identity.EntityID{d.Entity, newKey(t).ID()} { // M49: one that lives here, and M79: one that does not
		c.refused(migration.StateFailed, a.Self(), &migration.Release{Entity: id, Epoch: 2, Head: head})
		c.refused(migration.Cancelled, a.Self(), &migration.Ask{Entity: id})
	}
	c.refused(migration.ProtocolError, a.Self(), migration.NewRefuse(migration.Failf(migration.StateFailed, "what?"))) // M110
	a.wantSend(d.Entity, "x", "1")
	if i, err := a.Daemons().Inspect(d.Entity); err != nil || i.Epoch != 1 || a.DaemonCount() != 1 {
		t.Errorf("%+v, %v", i, err)
	}
}

// While a daemon moves, whoever is no part of it changes nothing by whatever it
// says; the two whose it is are heard afterwards as before.
func TestM107_M108_F58_StrangersAreNotHeardMeanwhile(t *testing.T) {
	for _, at := range []migration.Message{&migration.Arrived{}, &migration.Prepared{}, &migration.Release{}} {
		g := newGate(at)
		var offer *migration.Offer
		net := hosttest.Net{Filter: func(from, to identity.NodeID, m migration.Message) bool {
			if o, ok := m.(*migration.Offer); ok && offer == nil {
				offer = o
			}
			return g.filter(from, to, m)
		}}
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		c := newStranger(t, &net)
		d := a.spawnAs("n", nil)
		a.wantSend(d.Entity, "x", "1")
		now, err := a.Daemons().Inspect(d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		release := &migration.Release{Migration: offer.Migration, Entity: d.Entity, Epoch: 2, Sequence: 1, Head: now.Head[:]}
		for _, to := range []*node{a, b} {
			c.refused(migration.StateFailed, to.Self(), release)
			c.refused(migration.Cancelled, to.Self(), &migration.Ask{Migration: offer.Migration, Entity: d.Entity})
			for _, m := range []migration.Message{migration.NewRefuse(migration.Failf(migration.StateFailed, "stop it")), &migration.Done{Epoch: 2},
				&migration.Prepared{Sequence: 1, Applied: 1, Head: now.Head[:]}, &migration.Tail{Last: true}, &migration.Hold{}} {
				c.refused(migration.ProtocolError, to.Self(), m)
			}
		}
		c.refused(migration.AlreadyMigrating, b.Self(), offer) // nor does its offer push the other out
		g.open()
		if _, err := m.Wait(ctx); err != nil {
			t.Errorf("at %T: %v", at, err)
		}
		b.wantSend(d.Entity, "x", "2")
	}
}

// A source that has released a daemon never says that it keeps it, also when it
// has started again and cannot reach the target of its own accord.
func TestM23_ReleaseIsNeverDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		keyA, dir := newKey(t), t.TempDir()
		a, b := start(t, &net, keyA, dir, nil), nativeNode(t, &net)
		f := nativeFactory(new(int))
		if err := a.RegisterFactory("n", f); err != nil {
			t.Fatal(err)
		}
		d := a.spawnAs("n", nil)
		net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
			_, release := m.(*migration.Release)
			return !release
		}
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		synctest.Wait()
		if m.Phase() != migration.Cutover {
			t.Fatalf("phase %s", m.Phase())
		}
		a.stop()
		if _, err := m.Wait(ctx); !failedWith(err, migration.SourceUnavailable) { // not: that it serves the daemon
			t.Errorf("the release was made, and the migration failed with %v", err)
		}
		if len(a.Migrations().Running()) != 0 {
			t.Error("a record outlived the shutdown")
		}
		net.Filter = nil
		forgetful := &forgetful{unknown: b.Self()}
		a = startWith(t, &net, keyA, dir, "n", f, func(m *hosttest.Mesh) mesh.Mesh {
			forgetful.Mesh = m
			return forgetful
		})
		time.Sleep(time.Minute) // b asks now and then
		if b.DaemonCount() != 1 {
			t.Fatal("the target does not have the daemon")
		}
		b.wantSend(d.Entity, "x", "1")
		var moved *daemon.MovedError
		held, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := second(a.Deliver(held, d.Entity, daemon.Event{})); err == nil || errors.As(err, &moved) {
			t.Errorf("the source: %v", err)
		}
	})
}

// forgetful is a mesh that has lost one of its peers.
type forgetful struct {
	*hosttest.Mesh
	unknown identity.NodeID
}

func (m *forgetful) Peer(id identity.NodeID) (mesh.Peer, error) {
	if id == m.unknown {
		return nil, fmt.Errorf("%w: %s", mesh.ErrUnknownNode, id)
	}
	return m.Mesh.Peer(id)
}
