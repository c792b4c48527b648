package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// twins are two daemons of kind heap that get the same events: one of them
// moves.
type twins struct {
	t        *testing.T
	at, home *node
	one, two daemon.Info
}

func newTwins(t *testing.T, a *node) *twins {
	t.Helper()
	a.push("heap", "c/heap.wasm")
	return &twins{t, a, a, a.spawn("heap", "one"), a.spawn("heap", "two")}
}

func (w *twins) send(events ...string) {
	w.t.Helper()
	for _, e := range events {
		if got, want := w.at.send(w.one.Entity, e), w.home.send(w.two.Entity, e); got != want {
			w.t.Fatalf("event %q: the one that moves gives %q, the other %q", e, got, want)
		}
	}
}

func wait(t *testing.T, m *host.Migration) host.Report {
	t.Helper()
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rep, err := m.Wait(limit)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// A daemon whose memory moves goes on, and is on the target what it would have
// been: whatever it writes while its memory is read and sent.
func TestMemoryMovesWhileItChanges(t *testing.T) {
	var w *twins
	var sent, during atomic.Int32
	var arrived atomic.Bool
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		switch m.(type) {
		case *migration.Arrived:
			arrived.Store(true)
		case *migration.Blocks:
			if sent.Add(1); !arrived.Load() && sent.Load()%3 == 0 && during.Add(1) < 20 {
				w.send("w 300", "r 1")
			}
		case *migration.Caught:
			if during.Add(1) < 20 {
				w.send("w 1")
			}
		}
		return true
	}}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	w = newTwins(t, a)
	w.send("r 4", "t 4", "w 100")
	m := begin(t, a, w.one.Entity, b.Self(), host.MigrationOptions{})
	var steps []host.Progress
	for p := range m.Watch(ctx) {
		steps = append(steps, p)
	}
	rep := wait(t, m)
	w.at = b
	w.send("w 3000", "t 1", "w 100", "s 1")
	if len(rep.Rounds) < 3 || rep.Rounds[0].How != migration.RoundBulk || rep.Rounds[0].Blocks < 1000 {
		t.Errorf("rounds %+v", rep.Rounds)
	}
	for n, r := range rep.Rounds {
		if r.Number != n {
			t.Errorf("round %d is numbered %d", n, r.Number)
		}
	}
	last := host.Progress{}
	rounds := 0
	for _, p := range steps {
		if p.Bytes < last.Bytes || p.Done < last.Done || p.Phase < last.Phase || p.Done > p.Whole {
			t.Errorf("%+v after %+v", p, last)
		}
		if p.Round != nil {
			rounds++
		}
		last = p
	}
	if last.Phase != migration.Complete || last.Bytes != rep.Bytes || rounds != len(rep.Rounds) || last.Done < 8<<20 {
		t.Errorf("the last step was %+v, after %d of %d rounds", last, rounds, len(rep.Rounds))
	}
	if rep.Bytes > 14<<20 { // half of it compresses
		t.Errorf("%d bytes were sent", rep.Bytes)
	}
	if err := b.proves(w.one.Entity); err != nil {
		t.Error(err)
	}
	back := b.migrate(w.one.Entity, a)
	w.at = a
	w.send("w 10")
	if back.Epoch != 3 {
		t.Errorf("epoch %d", back.Epoch)
	}
}

// Events that take long are not done again on the target: what they changed in
// memory is sent instead. After a crash the target still knows what came.
func TestLongEventsAreNotReplayed(t *testing.T) {
	var w *twins
	var once sync.Once
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Blocks); ok {
			once.Do(func() { w.send("s 20000", "s 20000", "w 2") })
		}
		return true
	}}
	dir := t.TempDir()
	key := newKey(t)
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, key, dir, nil)
	w = newTwins(t, a)
	w.send("r 1")
	rep := wait(t, begin(t, a, w.one.Entity, b.Self(), host.MigrationOptions{}))
	pages := 0
	for _, r := range rep.Rounds {
		if r.How == migration.RoundPages {
			pages += r.Records
		}
	}
	if pages < 3 {
		t.Errorf("rounds %+v", rep.Rounds)
	}
	w.at = b
	w.send("w 5")
	b.stop()
	b = start(t, &net, key, dir, nil)
	w.at = b
	w.send("w 5", "s 1")
}

// The target could not do the long events again if it had to: it allows no event
// so much fuel.
func TestLongEventsAreNotDoneOnTheTarget(t *testing.T) {
	var w *twins
	var once sync.Once
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Blocks); ok {
			once.Do(func() { w.send("s 20000", "s 20000") })
		}
		return true
	}}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", func(o *host.Options) { o.Limits.Fuel = 1 << 20 })
	w = newTwins(t, a)
	w.send("r 1")
	wait(t, begin(t, a, w.one.Entity, b.Self(), host.MigrationOptions{}))
	w.at = b
	w.send("w 5")
	if _, err := b.Deliver(ctx, w.one.Entity, daemon.Event{Payload: []byte("s 20000")}); err == nil {
		t.Error("the target does what it was to be unable to do")
	}
}

// A connection that breaks while much is on its way costs what was in flight,
// not a new beginning.
func TestBrokenTransferGoesOn(t *testing.T) {
	var sent, offers atomic.Int32
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		switch m.(type) {
		case *migration.Offer:
			offers.Add(1)
		case *migration.Blocks:
			switch sent.Add(1) {
			case 30, 60, 90:
				return false
			}
		}
		return true
	}}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	w := newTwins(t, a)
	w.send("r 48")
	b.push("heap", "c/heap.wasm")
	rep := wait(t, begin(t, a, w.one.Entity, b.Self(), host.MigrationOptions{}))
	w.at = b
	w.send("w 100")
	need := int32(rep.Rounds[0].Blocks+migration.MaxBlocks-1) / migration.MaxBlocks
	if n := sent.Load(); offers.Load() != 4 || n < need+3 || n > need+3*18 { // what a broken connection still held went again
		t.Errorf("%d messages of blocks over %d connections, for %d", n, offers.Load(), need)
	}
}

// What a target keeps of an attempt that broke does not keep the daemon from coming
// from another node, to which it moved since.
func TestBrokenTransferGivesWay(t *testing.T) {
	broken := make(chan struct{})
	var once sync.Once
	var from identity.NodeID
	net := hosttest.Net{Filter: func(at, _ identity.NodeID, m migration.Message) bool {
		select {
		case <-broken:
			return true
		default:
		}
		if _, ok := m.(*migration.SnapshotChunk); ok && at == from {
			once.Do(func() { close(broken) })
			return false
		}
		return true
	}}
	a, b, c := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	from = a.Self()
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	m := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{})
	<-broken
	m.Cancel()
	if _, err := m.Wait(ctx); !failedWith(err, migration.Cancelled) {
		t.Fatal(err)
	}
	net.Settle()
	a.migrate(d.Entity, b)
	b.migrate(d.Entity, c)
	c.wantSend(d.Entity, "x", "1")
}

// A target that stays away is given up, and forgets what came.
func TestBrokenTransferIsNotResumedForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		net.Filter = func(_, to identity.NodeID, m migration.Message) bool {
			if _, ok := m.(*migration.SnapshotChunk); ok {
				net.SetDown(b.Self(), true)
				return false
			}
			return true
		}
		started := time.Now()
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		if _, err := m.Wait(ctx); !failedWith(err, migration.TargetUnavailable) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(started); took < 20*time.Second || took > 40*time.Second {
			t.Errorf("it was given up after %v", took)
		}
		a.wantSend(d.Entity, "x", "1")
		time.Sleep(time.Minute)
		b.nothing()
		net.SetDown(b.Self(), false)
		net.Filter = nil
		a.migrate(d.Entity, b)
		b.wantSend(d.Entity, "x", "2")
	})
}

func TestDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		g := newGate(&migration.Arrived{})
		net.Filter = g.filter
		started := time.Now()
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{Deadline: 5 * time.Second})
		if _, err := m.Wait(ctx); !failedWith(err, migration.Cancelled) || time.Since(started) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		a.wantSend(d.Entity, "x", "1")
		g.open()
		time.Sleep(time.Minute)
		b.nothing()
		m = begin(t, a, d.Entity, b.Self(), host.MigrationOptions{Deadline: 5 * time.Second})
		if _, err := m.Wait(ctx); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second) // the deadline of what is over does nothing
		b.wantSend(d.Entity, "x", "2")
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := heavyNode(t, &net, nil), heavyNode(t, &net, nil)
		d := a.spawnAs("heavy", nil)
		a.grow(d.Entity, 1<<20)
		started := time.Now()
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{Rate: 100 << 10})
		if _, err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started).Round(time.Second); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("1 MiB at 100 KiB a second took %v", took)
		}
	})
}

// A daemon that does more in each round than the round carried is slowed, within
// bounds, and moves; it is slowed no more where it went, nor where it stays.
func TestADaemonThatDoesTooMuchIsSlowed(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancelled=%v", cancelled), func(t *testing.T) {
			for range 10 {
				if slowsWhatDoesTooMuch(t, cancelled) {
					return
				}
			}
			t.Error("the daemon was slowed in none of ten migrations")
		})
	}
}

// slowsWhatDoesTooMuch moves a daemon whose events take at least eventTime each,
// and no time where it goes. The copy of its state is held for so many events that
// the first round leaves far less; the second is held until the events that come
// meanwhile take twice all the time since the migration began, which is longer than
// any trip that the source measured. It reports whether the daemon was slowed: not where
// the machine was so busy that the first round took nearly as long as the copy.
func slowsWhatDoesTooMuch(t *testing.T, cancelled bool) bool {
	const eventTime = 2 * time.Millisecond
	var began time.Time
	answers := 0
	g := newGate(&migration.Prepared{})
	more := make(chan struct{})
	net := hosttest.Net{Filter: func(from, to identity.NodeID, m migration.Message) bool {
		switch m.(type) {
		case *migration.Ready, *migration.Caught:
			hold := 0
			switch answers++; answers {
			case 1:
				hold = 200
			case 3:
				hold = 2 + int(2*time.Since(began)/eventTime)
			}
			for range hold {
				<-more
			}
		}
		return g.filter(from, to, m)
	}}
	taking := func(pause time.Duration) daemon.Factory {
		return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
			return &puppet{onProcess: func(string) error { time.Sleep(pause); return nil }}, nil
		})
	}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	if err := errors.Join(a.RegisterFactory("long", taking(eventTime)), b.RegisterFactory("long", taking(0))); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("long", nil)
	applied, done, stop := 0, make(chan struct{}), make(chan struct{})
	begun := make(chan struct{}, 1)
	go func() {
		defer close(done)
		for at := a; ; {
			select {
			case <-stop:
				return
			default:
			}
			_, err := at.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
			var moved *daemon.MovedError
			if errors.As(err, &moved) {
				at = b
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			if applied++; applied == 1 {
				begun <- struct{}{}
			}
			select {
			case more <- struct{}{}:
			default:
			}
		}
	}()
	<-begun

	began = time.Now()
	m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{Downtime: time.Nanosecond, MaxRounds: 8})
	<-g.reached // the target has all
	at := b
	if cancelled {
		m.Cancel()
		at = a
	}
	g.open()
	rep, err := m.Wait(ctx)
	if cancelled != (err != nil) {
		t.Fatal(err)
	}

	slowed := time.Duration(0)
	for _, r := range rep.Rounds {
		slowed = max(slowed, r.Slowed)
	}
	if slowed > 20*time.Millisecond || len(rep.Rounds) > 10 {
		t.Errorf("rounds %+v", rep.Rounds)
	}
	if p := at.Pace(d.Entity); p != 0 {
		t.Errorf("it still waits %v between events", p)
	}
	close(stop)
	<-done
	at.wantSend(d.Entity, "x", fmt.Sprint(applied+1))
	return slowed > 0 || cancelled
}

// Four senders deliver through ten moves and see no error: each event is applied
// once, and in each one's order.
func TestSendersSeeNothingOfTenMoves(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	load, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	var applied atomic.Int64
	for s := range 4 {
		all.Go(func() {
			sender := newKey(t).ID()
			at, other := a, b
			last := ""
			for n := uint64(1); load.Err() == nil; n++ {
				ev := daemon.Event{Sender: sender, Number: n, Payload: []byte("x")}
				res, err := at.Deliver(ctx, d.Entity, ev)
				for tries := 0; err != nil && tries < 100; tries++ {
					var moved *daemon.MovedError
					if !errors.As(err, &moved) {
						t.Errorf("sender %d, event %d: %v", s, n, err)
						return
					}
					at, other = other, at
					res, err = at.Deliver(ctx, d.Entity, ev)
				}
				if err != nil || len(res.Outputs) != 1 || res.Duplicate {
					t.Errorf("sender %d, event %d: %+v, %v", s, n, res, err)
					return
				}
				if now := string(res.Outputs[0].Payload); len(now) < len(last) || len(now) == len(last) && now <= last {
					t.Errorf("sender %d got %s after %s", s, now, last)
				} else {
					last = now
				}
				applied.Add(1)
			}
		})
	}
	from, to := a, b
	for range 10 {
		m, err := from.StartMigration(ctx, d.Entity, to.Self())
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := m.Wait(ctx); err != nil {
			t.Error(err)
			break
		}
		from, to = to, from
	}
	stop()
	all.Wait()
	from.wantSend(d.Entity, "x", fmt.Sprint(applied.Load()+1))
	if err := from.proves(d.Entity); err != nil {
		t.Error(err)
	}
}
