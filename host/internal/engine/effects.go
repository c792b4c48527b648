package engine

import (
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/query"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// rules are those of one daemon's effects. They are asked while it processes.
type rules struct{ d *Daemon }

func (r rules) Publish(name string) int32 { return query.Granted{Grants: r.grants()}.Publish(name) }

func (r rules) Send(to [32]byte) int32 { return query.Granted{Grants: r.grants()}.Send(to) }

// grants are the daemon's.
func (r rules) grants() *effect.Grants {
	if r.d.effects == nil {
		return &effect.Grants{}
	}
	return r.d.effects.Grants()
}

func (r rules) Cost(payload int) int { return effect.Cost(payload) }

func (r rules) Room() abi.EffectRoom {
	if r.d.effects == nil {
		return (&effect.State{}).Room()
	}
	return r.d.effects.RoomAfter(r.d.firing)
}

// factoryEnv is what a factory is told of the daemon.
func (d *Daemon) factoryEnv() daemon.Env {
	return daemon.Env{Entity: d.id, Limits: *d.Limits(), Log: d.log.Add, Rules: rules{d}, Stop: d.node.Ending.Load, Pause: d.glance}
}

// grant sets what the daemon may do. It needs d.mu.
func (d *Daemon) grant(g effect.Grants) {
	if d.effects == nil {
		d.effects = &effect.State{}
	}
	d.effects.Grant(g)
}

// acted notes the effects of the event that was applied last. It needs d.mu.
func (d *Daemon) acted(list []effect.Effect) {
	if d.effects == nil {
		d.effects = &effect.State{}
	}
	d.effects.Apply(d.epoch, d.applied, list)
	for i := range list {
		if list[i].Kind == effect.Ask {
			d.node.Outbox.Watch(d.id, list[i].To)
		}
	}
}

// tookEffect notes that a timer fired, or what came of another daemon. It needs
// d.mu.
func (d *Daemon) tookEffect(kind daemon.EventKind, sender identity.EntityID, epoch, number uint64, at int64) {
	if d.effects == nil {
		d.effects = &effect.State{}
	}
	if kind == daemon.EventTimer {
		d.effects.Fired(number)
		return
	}
	if _, reply := kind.Reply(); reply {
		d.effects.End(effect.CallName{Epoch: epoch, Number: number})
		return
	}
	d.effects.Hear(effect.Mark{Sender: sender, Epoch: epoch, Number: number, Time: at})
}

// busyWithEffects reports whether something of the daemon's is on its way. It needs
// d.mu.
func (d *Daemon) busyWithEffects() bool {
	return d.effects != nil && len(d.effects.Pending())+len(d.effects.Replies()) > 0
}

// putEffects adds what is needed of the effects while the daemon is passive. It
// needs d.mu.
func (d *Daemon) putEffects(b *store.Batch) error {
	enc, err := d.effects.Resting().Encode()
	switch {
	case err != nil:
		return err
	case len(enc) == 0:
		b.Delete(store.Effects, d.id[:])
	default:
		b.Put(store.Effects, d.id[:], enc)
	}
	return nil
}

// RecoverEffects is recoverLedger for effects.
func (x Making) RecoverEffects() {
	d := x.d
	enc, err := d.env.Store.Get(store.Effects, d.id[:])
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	if err == nil {
		d.effects, err = effect.Decode(enc)
	}
	if err != nil {
		d.env.Logger.Error("the timers of a passive daemon cannot be read: they wait for its next event", "daemon", d.id.Origin(), "error", err)
	}
}

// StartEffects goes on with the effects of a daemon that begins to serve here. It needs
// d.mu.
func (x Effects) StartEffects() {
	x.d.carryOut()
	x.d.watchCalls()
}

// carryOut has what is pending delivered, and sees to the daemon's timers. It needs d.mu.
func (d *Daemon) carryOut() {
	if d.effects == nil || d.halted() || d.node.Permits.MayServe(d.id) != nil {
		return
	}
	d.did()
	d.node.Outbox.Start(d.id, d.effects)
	d.setTimer()
}

// setTimer has the daemon looked at when its first timer is due. It needs d.mu.
func (d *Daemon) setTimer() {
	if at := d.Effects().NextRound(); at > 0 {
		d.node.Outbox.SetTimer(d.id, at)
	}
}

// ShownEffects are the daemon's effects, as they were before where it is busy. It waits for
// the daemon where nobody has asked yet.
func (x Effects) ShownEffects() (daemon.Effects, error) {
	d := x.d
	seen := d.does.Load()
	switch {
	case seen == nil:
		if err := d.Peek(d.env.Context); err != nil {
			return daemon.Effects{}, err
		}
	case !d.mu.TryLock():
		return d.withLost(*seen), nil
	}
	defer d.mu.Unlock()
	d.does.Store(&daemon.Effects{})
	d.did()
	return d.withLost(*d.does.Load()), nil
}

// withLost adds how many events were lost.
func (d *Daemon) withLost(e daemon.Effects) daemon.Effects {
	e.PassedOver, e.Lost, e.Late = d.lost.taken.Load(), d.lost.sent.Load(), d.lost.late.Load()
	return e
}

// did notes the effects for those who ask while the daemon is busy, where somebody
// has. It needs d.mu.
func (d *Daemon) did() {
	if d.does.Load() == nil {
		return
	}
	var e daemon.Effects
	if s := d.effects; s != nil {
		e.Grants = s.Grants().Clone()
		for _, p := range s.Places() {
			at := daemon.PendingEffects{Place: p}
			for _, one := range s.Pending() {
				if one.Place == p {
					at.Events, at.Bytes = at.Events+1, at.Bytes+int64(len(one.Payload))
				}
			}
			e.Pending = append(e.Pending, at)
		}
		e.Timers = append([]effect.Alarm(nil), s.Timers()...)
		e.Calls, e.Owes = slices.Clone(s.Calls()), slices.Clone(s.Owes())
		e.Replies = slices.Clone(s.Replies())
		for i := range e.Replies {
			e.Replies[i].Payload = nil
		}
	}
	d.does.Store(&e)
}

// applyOther has the daemon process an event that another daemon sent, unless it
// has it. Events that it fails on are recorded, as every numbered one. It returns
// nil for both once it is certain. It needs d.mu.
func (d *Daemon) applyOther(ev *Input) error {
	if d.effects != nil {
		if m, ok := d.effects.Heard(ev.Sender); ok && !m.Before(ev.senderEpoch, ev.Number) {
			return nil
		} else if !ok && d.effects.Senders() >= d.Limits().Senders {
			if d.effects.Forget(d.after(d.used) - int64(d.Limits().SenderMemory)); d.effects.Senders() >= d.Limits().Senders {
				return fmt.Errorf("%w: %d", daemon.ErrHorizonFull, d.Limits().Senders)
			}
		}
	}
	if ev.Kind == daemon.EventAsk {
		if err := d.roomForAsk(ev.Sender); err != nil {
			return err
		}
	}
	known := false
	if d.effects != nil {
		_, known = d.effects.Heard(ev.Sender)
	}
	if !known {
		if err := d.via.Room(ev.Via, d.Limits().Senders, d.after(d.used), d.Limits().SenderMemory); err != nil {
			return err
		}
	}

	if err := d.applySurely(ev); err != nil {
		return err
	}
	if m, ok := d.effects.Heard(ev.Sender); !ok || m.Before(ev.senderEpoch, ev.Number) {
		return errAgain
	}
	if !known {
		d.via.Take(ev.Via)
	}
	return nil
}

// applySurely has the daemon process an event, and passes over one that it fails
// on. It needs d.mu.
func (d *Daemon) applySurely(ev *Input) error {
	var err error
	if at := d.after(d.used); len(ev.Payload) > d.Limits().EventBytes {
		_, err = d.failed(ev, at, &daemon.GuestError{Kind: abi.FaultLimit, Call: "process", Limit: "event-bytes",
			Text: fmt.Sprintf("the event has %d bytes, at most %d", len(ev.Payload), d.Limits().EventBytes)})
	} else {
		err = d.Turns().Process(ev, at, new(pending.Event))
	}
	if d.effects == nil && err == nil {
		err = errAgain
	}
	return err
}

// BeginRound returns the number that the next timer will have, or 0 where a round
// may not begin yet. It needs d.mu.
func (x Effects) BeginRound() uint64 {
	d := x.d
	interval := int64(d.Limits().TimerInterval)
	if wait := d.round - d.used; wait > 0 && wait <= interval { // else the clock was set back
		return 0
	}
	d.round = d.used + interval
	return effect.Number(d.applied+1, 0)
}

// NextRound returns when the daemon's timers are to be looked at again; 0: it has
// none. It needs d.mu.
func (x Effects) NextRound() int64 {
	d := x.d
	if d.effects == nil {
		return 0
	}
	first, ok := d.effects.Next()
	if _, ends, has := d.effects.NextCall(0); has && (!ok || ends < first.At) {
		return max(ends, d.round, 1)
	}
	if !ok {
		return 0
	}
	return max(first.At, d.round)
}

// FireSome fires timers that are due and whose numbers are below limit, as many as
// a turn takes, and returns the ticket of the last record. more says that others
// are left. It needs d.mu.
func (x Effects) FireSome(t *fair.Turn, limit uint64) (last *pending.Ticket, more bool, err error) {
	d := x.d
	d.Turns().Gather()
	fired := 0
	for {
		if more, err = d.fireOne(limit); err != nil || !more {
			break
		}
		if fired++; d.Turns().TurnOver(t) {
			break
		}
	}
	last = d.Turns().Flush()
	d.share.Made(fired, int64(d.flown))
	d.did()
	return last, more, err
}

// fireOne fires the timer that is due first of those whose numbers are below limit.
// fired says that there was one. It needs d.mu.
func (d *Daemon) fireOne(limit uint64) (fired bool, err error) {
	if d.effects == nil {
		return false, nil
	}
	a, ok := d.effects.NextBefore(limit)
	if c, ends, has := d.effects.NextCall(limit); has && ends <= d.used && (!ok || ends < a.At) {
		return true, d.endCall(c)
	}
	if !ok || a.At > d.used {
		return false, nil
	}
	if err := d.applySurely(&Input{Event: daemon.Event{Sender: d.id, From: d.id, Number: a.ID, Kind: daemon.EventTimer, Payload: a.Payload}}); err != nil {
		return false, err
	}
	if again, ok := d.effects.NextBefore(limit); ok && again.ID == a.ID {
		return false, errAgain
	}
	return true, nil
}
