package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Answer has the daemon, which was entered, apply the event, and leaves it. The hold
// becomes what the answer takes. A defer is cheap in a function with few returns only.
func (x Mailbox) Answer(ev *Input, hold *budget.Hold, p *pending.Event) error {
	d := x.d
	defer d.mu.Unlock()
	defer d.Show()
	err := x.Apply(ev, p)
	if p.Hold = hold; err != nil {
		hold.Done()
	} else if hold != nil {
		hold.Set(heldBytes(&p.Result))
	}
	if err == nil && d.leader != nil && (p.Ticket == nil || p.Result.Duplicate) {
		p.Ticket = pending.NewTicket()
		d.leader.Barrier(p.Ticket.Finish) // nothing was written, and the answer is an answer
	}
	return err
}

// outputCost is what an output takes besides its payload, pendingCost what an event
// does that is not yet answered.
const (
	outputCost  = 192
	pendingCost = 512
)

// held returns how many bytes the result takes.
func heldBytes(r *daemon.Result) int64 {
	n := int64(pendingCost)
	for i := range r.Outputs {
		n += outputCost + int64(len(r.Outputs[i].Payload))
	}
	return n
}

// RoomForAnswer reserves the most that the event's answer can take, in the budget that
// the event has: an event whose answer has no room is not processed. Where that has to
// be waited for, the daemon goes on with others and is entered again. It needs d.mu,
// which it has released where it returns an error.
func (x Mailbox) RoomForAnswer(ctx context.Context, ev *Input) (*budget.Hold, error) {
	d := x.d
	if ev.Answers == nil {
		return nil, nil
	}
	most := pendingCost + int64(d.Limits().OutputBytes) + outputCost*int64(d.Limits().OutputCount)
	most = min(most, ev.Answers.Limit())
	if hold := ev.Answers.TakeHold(most); hold != nil {
		return hold, nil
	}
	d.mu.Unlock()
	hold, err := ev.Answers.Reserve(ctx, most)
	if err != nil {
		return nil, err
	}
	if err := x.Enter(ctx, len(ev.Payload)); err != nil {
		hold.Done()
		return nil, err
	}
	return hold, nil
}

// Apply has the daemon process the event, links its outputs and submits the
// record, to p, which is zero. The event's time is when the daemon was entered for it. It
// needs d.mu.
func (x Mailbox) Apply(ev *Input, p *pending.Event) error {
	d := x.d
	if len(ev.Payload) > d.Limits().EventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(ev.Payload), d.Limits().EventBytes)
	}
	if err := d.Turns().Going(); err != nil {
		return err
	}
	at := d.after(d.used)
	added := false // a sender that is new
	if !ev.Sender.IsZero() {
		if d.ledger.Len() > 0 && d.ledger.From(ev.Sender) != nil {
			return fmt.Errorf("%w: the sender is a channel, whose events come by the subscription alone", daemon.ErrReserved)
		}
		if d.horizon.Seen(ev.Sender, ev.Number) {
			d.events.Repeats.Add(1)
			var err error
			*p, err = d.repeat(ev)
			return err
		}
		if added = !d.horizon.Knows(ev.Sender); added {
			if err := d.placeFor(ev, at); err != nil {
				return err
			}
		}
	}
	if err := d.veil(); err != nil {
		return err
	}

	err := d.Turns().Process(ev, at, p)
	if added && d.horizon.Knows(ev.Sender) {
		d.via.Take(ev.Via)
	}
	return err
}

// Direct returns nil if the event can come from outside: what a daemon has of its
// channels, its timers and other daemons comes by those alone.
func (ev *Input) Direct() error {
	switch {
	case ev.Kind != daemon.EventDirect:
		return fmt.Errorf("%w: an event of kind %d is not delivered from outside", daemon.ErrReserved, ev.Kind)
	case ev.Channel != "":
		return fmt.Errorf("%w: a direct event names a channel, in %d bytes", daemon.ErrReserved, len(ev.Channel))
	case !ev.From.IsZero():
		return fmt.Errorf("%w: a direct event names an origin without proof", daemon.ErrReserved)
	case ev.Sender == snapshot.VeilSender:
		return fmt.Errorf("%w: %s", daemon.ErrReserved, ev.Sender)
	case !ev.Sender.IsZero() && (ev.Number == 0 || ev.Number > daemon.MaxEventNumber):
		return fmt.Errorf("%w, not %d", daemon.ErrEventNumber, ev.Number)
	}
	return nil
}

// placeFor returns nil if the event's sender, which is new, can be remembered: in its
// scope's share, and in that of the peer that passed the event on.
func (d *Daemon) placeFor(ev *Input, at int64) error {
	if err := d.via.Room(ev.Via, d.Limits().Senders, at, d.Limits().SenderMemory); err != nil {
		return err
	}
	return d.horizon.Room(ev.Sender, d.Limits().Senders, at-int64(d.Limits().SenderMemory))
}

// Process is apply without the checks.
func (x Turns) Process(ev *Input, at int64, p *pending.Event) error {
	d := x.d
	var began time.Time
	sampled := d.sampled()
	if sampled || d.tail != nil {
		began = time.Now()
	}
	raw, err := d.daemon.Process(d.prepareCall(ev, at), ev.Payload)
	if d.queries.Beside() {
		d.queries.Retire()
	}
	if sampled || d.tail != nil {
		took := time.Since(began)
		if d.tail != nil {
			d.tail.Work(took)
		}
		if sampled {
			d.Upkeep().NoteNear()
			d.events.Process.Observe(took)
			if ev.Kind == daemon.EventDirect {
				d.work.time.Add(int64(took) * tally.SampledEvents)
			}
		}
	}
	if errors.Is(err, sandbox.ErrStopped) {
		return fmt.Errorf("%w: the event was not applied", daemon.ErrShuttingDown)
	}
	if err != nil {
		*p, err = d.failed(ev, at, err)
		return err
	}
	d.answerByOutputs(ev, raw)
	var rec *journal.Event
	if d.recording() {
		rec = &journal.Event{Sender: ev.Sender, Number: ev.Number, Time: at, Channel: ev.Channel, Payload: ev.Payload,
			Applied: d.applied + 1, Before: d.chain.Head(), Parent: d.chain.HeadHash(), Epoch: d.epoch, Outputs: raw,
			Kind: ev.Kind, From: ev.From, SenderEpoch: ev.senderEpoch, Effects: d.call.Effects, Retry: ev.retry}
	}
	var outputs []chain.Output
	if ev.Kind == daemon.EventDirect || ev.retry != 0 || !d.feed.Idle() {
		outputs = d.link(raw)
	} else {
		d.chainOn(raw) // nobody is to have them
	}
	d.note(ev, at)
	acts := len(d.call.Effects) > 0
	if acts {
		d.acted(d.call.Effects)
	}
	p.Result.Outputs = outputs
	d.events.Events.Add(1)
	d.work.events[ev.Kind].Add(1)
	if len(raw) > 0 {
		d.events.Outputs.Add(uint64(len(raw)))
	}
	if rec != nil {
		if sampled {
			d.timing = began
		}
		var enc []byte
		if acts || ev.Kind >= daemon.EventTimer || ev.retry != 0 {
			if enc, err = journal.Encode(rec); err != nil {
				return err // it is of types that encode
			}
		} else {
			enc = rec.Encode()
		}
		p.Ticket = x.Record(enc)
		d.timing = time.Time{}
		d.Upkeep().StoreIfDue(d.used)
	}
	if acts {
		d.carryOut()
	}
	if ev.Kind != daemon.EventDirect {
		d.madeRoom()
	}
	if len(outputs) > 0 && !d.feed.Idle() {
		for _, o := range outputs {
			d.feed.Publish(emitted{o, p.Ticket})
		}
	}
	return nil
}

// chainOn puts the daemon's outputs on its chain.
func (d *Daemon) chainOn(raw [][]byte) {
	if len(raw) == 0 {
		return
	}
	var l chain.Link
	for _, b := range raw {
		d.chain.AppendTo(&l, d.epoch, d.applied+1, b)
	}
	d.payload = append(d.payload[:0], raw[len(raw)-1]...)
	d.stats.Emitted += uint64(len(raw))
}

// link copies the daemon's outputs and puts them on its chain.
func (d *Daemon) link(raw [][]byte) []chain.Output {
	if len(raw) == 0 {
		return nil
	}
	size := 0
	for _, b := range raw {
		size += len(b)
	}
	outputs, room := newOutputs(len(raw), size)
	for i, b := range raw {
		n := copy(room, b)
		outputs[i].Payload, room = room[:n:n], room[n:]
		d.chain.AppendTo(&outputs[i].Link, d.epoch, d.applied+1, b)
	}
	d.payload = append(d.payload[:0], raw[len(raw)-1]...)
	d.stats.Emitted += uint64(len(raw))
	return outputs
}

// newOutputs returns n outputs and room for their payloads, which have size
// bytes together. One output is a single piece of memory with a payload that is
// not large.
func newOutputs(n, size int) ([]chain.Output, []byte) {
	switch {
	case n != 1 || size > 400:
	case size <= 16:
		o := new(struct {
			one  [1]chain.Output
			room [16]byte
		})
		return o.one[:], o.room[:]
	case size <= 144:
		o := new(struct {
			one  [1]chain.Output
			room [144]byte
		})
		return o.one[:], o.room[:]
	default:
		o := new(struct {
			one  [1]chain.Output
			room [400]byte
		})
		return o.one[:], o.room[:]
	}
	return make([]chain.Output, n), make([]byte, size)
}

// note counts an applied event.
func (d *Daemon) note(ev *Input, at int64) {
	d.applied++
	d.stats.Processed++
	d.lastTime = max(d.lastTime, at)
	if ev.retry == 0 { // else it was when it failed
		d.advance(ev.Kind, ev.Sender, ev.senderEpoch, ev.Number, at)
		if ev.Kind == daemon.EventAsk {
			d.effects.Asked(d.applied, ev.Sender, effect.CallName{Epoch: ev.senderEpoch, Number: ev.Number})
		}
	}
}

// advance records that the sender's event number has been applied, or failed
// on. Of a channel the ledger knows it.
func (d *Daemon) advance(kind daemon.EventKind, sender identity.EntityID, epoch, number uint64, at int64) {
	if kind >= daemon.EventTimer {
		d.tookEffect(kind, sender, epoch, number, at)
		return
	}
	if d.ledger.Len() > 0 {
		if b := d.ledger.From(sender); b != nil {
			b.Cursor = max(b.Cursor, number)
			return
		}
	}
	d.horizon.Advance(sender, number, at)
}

// failed handles an event that the daemon returned err for. A numbered one is
// recorded, so that a repeat of it is told the same.
func (d *Daemon) failed(ev *Input, at int64, err error) (pending.Event, error) {
	if d.waitsForRoom(ev, err) {
		if ev.Kind != daemon.EventDirect {
			return pending.Event{}, fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		d.stats.Errors++
		d.events.Failures[tally.Failure(err)].Add(1)
		return pending.Event{Err: err}, nil
	}
	d.stats.Errors++
	d.events.Failures[tally.Failure(err)].Add(1)
	if errors.Is(err, sandbox.ErrBroken) {
		d.log.Add(3, err.Error())
		d.End(lifecycle.Fail, err)
		d.Notify(daemon.CannotGoOn, err.Error())
		return pending.Event{}, err
	}
	p := pending.Event{Err: err}
	var fault *daemon.GuestError
	if !errors.As(err, &fault) {
		fault = &daemon.GuestError{Kind: "error", Call: "process", Code: -1, Text: err.Error()}
	} else {
		d.log.Add(3, err.Error())
	}
	if ev.Sender.IsZero() || ev.retry != 0 || d.again(ev, fault) {
		return p, nil
	}
	d.advance(ev.Kind, ev.Sender, ev.senderEpoch, ev.Number, at)
	d.failedAsk(ev.Kind, ev.Sender, ev.senderEpoch, ev.Number, fault)
	d.passedOver(ev, err)
	if d.recording() {
		rec, encErr := journal.Encode(&journal.Failure{Sender: ev.Sender, Number: ev.Number, Time: at, Kind: string(fault.Kind),
			Call: fault.Call, Code: fault.Code, Limit: fault.Limit, Text: fault.Text,
			Channel: ev.Channel, Payload: ev.Payload, Event: ev.Kind, SenderEpoch: ev.senderEpoch, From: ev.From})
		if encErr != nil {
			return pending.Event{}, encErr
		}
		p.Ticket = d.Turns().Record(rec)
		d.Upkeep().StoreIfDue(d.used)
	}
	if ev.Kind == daemon.EventAsk {
		d.carryOut()
	}
	return p, nil
}
