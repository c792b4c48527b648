package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/lifecycle"
)

// Bounds of a turn: it ends after the event that passes one of them.
const (
	turnTime  = 2 * time.Millisecond
	turnBytes = 1 << 20 // for the store
)

// internalBurst is for how long a daemon's rate may be saved up.
const internalBurst = 4 * time.Second

// internalRate is what the limits let the daemon make of its own accord.
func internalRate(l *daemon.Limits) fair.Rate {
	burst := int64(internalBurst / time.Second)
	return fair.Rate{Events: l.InternalRate, EventBurst: burst * l.InternalRate, Bytes: l.InternalBytes, ByteBurst: burst * l.InternalBytes}
}

// paceNoted is how often the log says of one daemon that it waits for its rate.
const paceNoted = 10 * time.Minute

// Owes returns how long the daemon must wait before it may make more of its own
// accord, and counts that it must.
func (x Turns) Owes() time.Duration {
	d := x.d
	owes := d.share.Owes()
	if owes == 0 {
		return 0
	}
	d.events.Paced.Add(1)
	now := time.Now().UnixNano()
	if last := d.paceNoted.Load(); (last == 0 || now-last >= int64(paceNoted)) && d.paceNoted.CompareAndSwap(last, now) {
		d.env.Logger.Warn("a daemon does more of its own accord than its limits internal-rate and internal-bytes allow: it waits", "daemon", d.id.Origin(), "name", d.name, "kind", d.kind)
		d.log.Add(2, "it does more of its own accord than its limits internal-rate and internal-bytes allow: the rest waits")
	}
	return owes
}

// Turn runs fn with the daemon entered, when it is its turn. It takes no place of
// the mailbox: a daemon has one turn at a time.
func (x Turns) Turn(ctx context.Context, fn func(t *fair.Turn) error) error {
	d := x.d
	t, err := d.share.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { d.events.Internal.Add(uint64(t.End())) }()
	if !d.tryEnter() {
		t.Park()
		err := d.Mailbox().Admit(ctx)
		t.Resume()
		if err != nil {
			return err
		}
	}
	defer d.mu.Unlock()
	defer d.Show()
	d.inTurn, d.flown = true, 0
	defer func() { d.inTurn = false }()
	return fn(t)
}

// tryEnter is Enter where that needs no waiting.
func (d *Daemon) tryEnter() bool {
	if d.pacer.Interval() > 0 || !d.mu.TryLock() {
		return false
	}
	q := d.question()
	if v, _ := q.Answer(); v != lifecycle.Serve {
		d.mu.Unlock()
		return false
	}
	d.used = d.env.Clock().UnixNano()
	return true
}

// TurnOver reports whether a turn that gathers records is to end. It needs d.mu.
func (x Turns) TurnOver(t *fair.Turn) bool {
	d := x.d
	flown := d.flown
	if d.gathered != nil {
		flown += d.gathered.batch.Size()
	}
	return flown >= turnBytes || t.Took() >= turnTime || d.pacer.Interval() > 0
}

// OwesBytes is how long who brings the daemon events must wait for its rate of bytes. It
// needs no lock.
func (x Turns) OwesBytes() time.Duration { return x.d.share.OwesBytes() }

// CountTurn counts what the turn has submitted against the daemon's rate. It needs d.mu.
func (x Turns) CountTurn() { x.d.share.Made(0, int64(x.d.flown)) }

// fly counts a batch of a turn until it is durable: finish then says so. stored is
// for a daemon with standbys, once this node's disk has answered. It needs d.mu.
func (d *Daemon) fly(bytes int, inner func(error)) (finish func(error), stored func()) {
	d.flown += bytes
	f := d.share
	f.Fly(bytes)
	if d.leader != nil {
		return func(err error) { inner(err); f.Land(bytes) }, func() { f.Stored(bytes) }
	}
	return func(err error) { inner(err); f.Stored(bytes); f.Land(bytes) }, nil
}

// roomless says since when a daemon's events have found no room for their effects,
// while nothing made room.
type roomless struct{ since time.Time }

// roomPatience is how long an event waits for room where nothing leaves the daemon
// although all to whom it sends can be reached: they wait for room themselves.
const roomPatience = 30 * time.Second

// ErrNoRoom says that an event of a timer, a daemon or a channel waits.
var ErrNoRoom = errors.New("the daemon has no room for what the event would send: it is tried again")

// waitsForRoom reports whether the event, which failed, is to be tried again since
// the reason passes: it left no trace. It needs d.mu.
func (d *Daemon) waitsForRoom(ev *Input, err error) bool {
	var fault *daemon.GuestError
	if !errors.As(err, &fault) || fault.Kind != abi.FaultLimit || d.effects == nil || ev.Once {
		return false
	}
	switch fault.Limit {
	case abi.LimitPending:
		if !d.busyWithEffects() {
			return false // it asks for more than there ever is
		}
	case abi.LimitTimers:
		if n := len(d.effects.Timers()); n == 0 || n == 1 && ev.Kind == daemon.EventTimer {
			return false
		}
	case abi.LimitCalls:
		if n := len(d.effects.Calls()); n == 0 || n == 1 && ev.Kind >= daemon.EventReply {
			return false
		}
	default:
		return false
	}
	if ev.Kind == daemon.EventDirect {
		return true // its sender sees it
	}
	d.events.Roomless.Add(1)
	now := time.Now()
	if d.roomless.since.IsZero() {
		d.roomless.since = now
		d.log.Add(2, fmt.Sprintf("an event waits: %s: %s", fault.Limit, fault.Text))
		return true
	}
	if now.Sub(d.roomless.since) < roomPatience || fault.Limit == abi.LimitPending && !d.node.Outbox.Stuck(d.id) {
		return true
	}
	d.roomless.since = time.Time{}
	return false
}

// madeRoom says that something left the daemon, or that an event found room. It
// needs d.mu.
func (d *Daemon) madeRoom() {
	if d.roomless.since.IsZero() {
		return
	}
	d.roomless.since = time.Time{}
	d.setTimer() // a timer may wait
}

// passedOver notes an event that failed with err and is not tried again. It needs d.mu.
func (d *Daemon) passedOver(ev *Input, err error) {
	if ev.Kind == daemon.EventDirect {
		return
	}
	d.events.Passed[ev.Kind].Add(1)
	d.lost.taken.Add(1)
	d.fault = err
}
