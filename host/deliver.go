package host

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
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Pending is an event that its daemon has applied, or failed on, and that is
// not yet durable.
type Pending struct {
	result daemon.Result
	err    error
	ticket *ticket
	hold   *budget.Hold // of the result, where the event's caller has a budget
}

// Release says that the result is passed on: its bytes no longer count in the budget
// that the event was given. It must be called for every event that has a budget.
func (p *Pending) Release() { p.hold.Done() }

// Drop is Release for a caller whom alone Wait serves: Wait returns an empty result
// from then on, and nothing keeps its bytes.
func (p *Pending) Drop() {
	p.Release()
	p.result = daemon.Result{}
}

// NewPending returns an event that something else than a Runtime has taken, and what
// answers it, which is called once.
func NewPending() (*Pending, func(daemon.Result, error)) {
	p := &Pending{ticket: newTicket()}
	return p, func(res daemon.Result, err error) {
		p.result = res
		p.ticket.finish(err)
	}
}

// Wait returns what became of the event, once it is durable. An event that the
// daemon failed on is a *GuestError or the native daemon's error. When ctx ends
// first the event may be applied all the same.
func (p *Pending) Wait(ctx context.Context) (daemon.Result, error) {
	if err := p.ticket.wait(ctx); err != nil {
		return daemon.Result{}, err
	}
	return p.result, p.err
}

// Durable returns nil once what became of the event is durable, and else why it is not:
// a *MovedError where another node has the daemon. What it became, Wait says.
func (p *Pending) Durable(ctx context.Context) error { return p.ticket.wait(ctx) }

// Ready returns a channel that is closed when Wait no longer blocks.
func (p *Pending) Ready() <-chan struct{} {
	if p.ticket == nil {
		return closedChan
	}
	return p.ticket.done
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ticket waits for a record to be durable. A nil ticket never waits.
type ticket struct {
	done chan struct{}
	err  error

	// Of a cluster's daemon, which answers later: closed once the record is on disk
	// here, or storedErr says why not. nil: as done.
	stored    chan struct{}
	storedErr error
}

func newTicket() *ticket { return &ticket{done: make(chan struct{})} }

// finish answers who waits. It is called once.
func (t *ticket) finish(err error) {
	t.err = err
	close(t.done)
}

// isDone reports whether wait would not block, and give no error.
func (t *ticket) isDone() bool {
	if t == nil {
		return true
	}
	select {
	case <-t.done:
		return t.err == nil
	default:
		return false
	}
}

// waitStored waits for the record to be on disk here, which says nothing of
// standbys.
func (t *ticket) waitStored(ctx context.Context) error {
	if t == nil || t.stored == nil {
		return t.wait(ctx)
	}
	select {
	case <-t.stored:
		return t.storedErr
	case <-ctx.Done():
		return fmt.Errorf("waiting for the event to be durable: %w", context.Cause(ctx))
	}
}

func (t *ticket) wait(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case <-t.done:
		return t.err
	default:
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the event to be durable: %w", context.Cause(ctx))
	}
}

// Deliver applies the event and returns when its outputs are durable. Errors:
// *NotFoundError, *MovedError, ErrMailboxFull, ErrTooLarge, *GuestError, and
// the context's while the daemon is on its way to another node.
func (r *Runtime) Deliver(ctx context.Context, id identity.EntityID, ev daemon.Event) (daemon.Result, error) {
	var p Pending
	if err := r.submit(ctx, id, &input{Event: ev}, &p); err != nil {
		return daemon.Result{}, err
	}
	return p.Wait(ctx)
}

// Submit applies the event and returns at once: events submitted one after
// the other are applied in that order, and become durable together. Errors are
// those of Deliver, but that of the event itself, which Wait returns.
func (r *Runtime) Submit(ctx context.Context, id identity.EntityID, ev daemon.Event) (*Pending, error) {
	p := new(Pending)
	if err := r.submit(ctx, id, &input{Event: ev}, p); err != nil {
		return nil, err
	}
	return p, nil
}

// submit is Submit to p, which is zero: a Pending takes more words than results are
// returned in.
func (r *Runtime) submit(ctx context.Context, id identity.EntityID, ev *input, p *Pending) error {
	if r.env.Tracer != nil {
		return r.traced(ctx, id, ev, p)
	}
	return r.untraced(ctx, id, ev, p)
}

func (r *Runtime) untraced(ctx context.Context, id identity.EntityID, ev *input, p *Pending) error {
	if err := r.ready(); err != nil {
		return err
	}
	if err := ev.direct(); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if err := r.mayTake(id); err != nil {
		return err
	}
	if err := d.enter(ctx, len(ev.Payload)); err != nil {
		return err
	}
	hold, err := d.roomForAnswer(ctx, ev)
	if err != nil {
		return err
	}
	return d.answer(ev, hold, p)
}

// answer has the daemon, which was entered, apply the event, and leaves it. The hold
// becomes what the answer takes. A defer is cheap in a function with few returns only.
func (d *hosted) answer(ev *input, hold *budget.Hold, p *Pending) error {
	defer d.mu.Unlock()
	defer d.show()
	err := d.apply(ev, p)
	if p.hold = hold; err != nil {
		hold.Done()
	} else if hold != nil {
		hold.Set(heldBytes(&p.result))
	}
	if err == nil && d.leader != nil && (p.ticket == nil || p.result.Duplicate) {
		p.ticket = newTicket()
		d.leader.Barrier(p.ticket.finish) // nothing was written, and the answer is an answer
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

// roomForAnswer reserves the most that the event's answer can take, in the budget that
// the event has: an event whose answer has no room is not processed. Where that has to
// be waited for, the daemon goes on with others and is entered again. It needs d.mu,
// which it has released where it returns an error.
func (d *hosted) roomForAnswer(ctx context.Context, ev *input) (*budget.Hold, error) {
	if ev.Answers == nil {
		return nil, nil
	}
	most := pendingCost + int64(d.limits().OutputBytes) + outputCost*int64(d.limits().OutputCount)
	most = min(most, ev.Answers.Limit())
	if hold := ev.Answers.TakeHold(most); hold != nil {
		return hold, nil
	}
	d.mu.Unlock()
	hold, err := ev.Answers.Reserve(ctx, most)
	if err != nil {
		return nil, err
	}
	if err := d.enter(ctx, len(ev.Payload)); err != nil {
		hold.Done()
		return nil, err
	}
	return hold, nil
}

// room returns nil when the store takes new records.
func (r *Runtime) room() error {
	if r.env.Store == nil {
		return nil
	}
	return r.env.Store.Err()
}

// apply has the daemon process the event, links its outputs and submits the
// record, to p, which is zero. The event's time is when the daemon was entered for it. It
// needs d.mu.
func (d *hosted) apply(ev *input, p *Pending) error {
	if len(ev.Payload) > d.limits().EventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(ev.Payload), d.limits().EventBytes)
	}
	if err := d.going(); err != nil {
		return err
	}
	at := d.after(d.used)
	added := false // a sender that is new
	if !ev.Sender.IsZero() {
		if d.ledger.Len() > 0 && d.ledger.From(ev.Sender) != nil {
			return fmt.Errorf("%w: the sender is a channel, whose events come by the subscription alone", daemon.ErrReserved)
		}
		if d.horizon.Seen(ev.Sender, ev.Number) {
			d.events.repeats.Add(1)
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

	err := d.process(ev, at, p)
	if added && d.horizon.Knows(ev.Sender) {
		d.via.Take(ev.Via)
	}
	return err
}

// direct returns nil if the event can come from outside: what a daemon has of its
// channels, its timers and other daemons comes by those alone.
func (ev *input) direct() error {
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
func (d *hosted) placeFor(ev *input, at int64) error {
	if err := d.via.Room(ev.Via, d.limits().Senders, at, d.limits().SenderMemory); err != nil {
		return err
	}
	return d.horizon.Room(ev.Sender, d.limits().Senders, at-int64(d.limits().SenderMemory))
}

// process is apply without the checks.
func (d *hosted) process(ev *input, at int64, p *Pending) error {
	var began time.Time
	sampled := d.sampled()
	if sampled || d.tail != nil {
		began = time.Now()
	}
	raw, err := d.daemon.Process(d.prepareCall(ev, at), ev.Payload)
	if sampled || d.tail != nil {
		took := time.Since(began)
		if d.tail != nil {
			d.tail.Work(took)
		}
		if sampled {
			d.noteNear()
			d.events.process.Observe(took)
			if ev.Kind == daemon.EventDirect {
				d.work.time.Add(int64(took) * SampledEvents)
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
	p.result.Outputs = outputs
	d.events.events.Add(1)
	d.work.events[ev.Kind].Add(1)
	if len(raw) > 0 {
		d.events.outputs.Add(uint64(len(raw)))
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
		p.ticket = d.record(enc)
		d.timing = time.Time{}
		d.storeIfDue(d.used)
	}
	if acts {
		d.carryOut()
	}
	if ev.Kind != daemon.EventDirect {
		d.madeRoom()
	}
	if len(outputs) > 0 && !d.feed.Idle() {
		for _, o := range outputs {
			d.feed.Publish(emitted{o, p.ticket})
		}
	}
	return nil
}

// chainOn puts the daemon's outputs on its chain.
func (d *hosted) chainOn(raw [][]byte) {
	if len(raw) == 0 {
		return
	}
	var l chain.Link
	for _, b := range raw {
		d.chain.AppendTo(&l, d.epoch, d.applied+1, b)
	}
	d.payload = append(d.payload[:0], raw[len(raw)-1]...)
	d.stats.emitted += uint64(len(raw))
}

// link copies the daemon's outputs and puts them on its chain.
func (d *hosted) link(raw [][]byte) []chain.Output {
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
	d.stats.emitted += uint64(len(raw))
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
func (d *hosted) note(ev *input, at int64) {
	d.applied++
	d.stats.processed++
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
func (d *hosted) advance(kind daemon.EventKind, sender identity.EntityID, epoch, number uint64, at int64) {
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
func (d *hosted) failed(ev *input, at int64, err error) (Pending, error) {
	if d.waitsForRoom(ev, err) {
		if ev.Kind != daemon.EventDirect {
			return Pending{}, fmt.Errorf("%w: %w", errNoRoom, err)
		}
		d.stats.errors++
		d.events.failures[failureOf(err)].Add(1)
		return Pending{err: err}, nil
	}
	d.stats.errors++
	d.events.failures[failureOf(err)].Add(1)
	if errors.Is(err, sandbox.ErrBroken) {
		d.log.add(3, err.Error())
		d.end(lifecycle.Fail, err)
		d.notify(daemon.CannotGoOn, err.Error())
		return Pending{}, err
	}
	p := Pending{err: err}
	var fault *daemon.GuestError
	if !errors.As(err, &fault) {
		fault = &daemon.GuestError{Kind: "error", Call: "process", Code: -1, Text: err.Error()}
	} else {
		d.log.add(3, err.Error())
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
			return Pending{}, encErr
		}
		p.ticket = d.record(rec)
		d.storeIfDue(d.used)
	}
	if ev.Kind == daemon.EventAsk {
		d.carryOut()
	}
	return p, nil
}

// recording reports whether history is kept, here or for a migration.
func (d *hosted) recording() bool { return d.env.Store != nil && d.kind != "" || d.tail != nil }

// record submits the next history record and returns its ticket. The record
// becomes the store's.
func (d *hosted) record(rec []byte) *ticket {
	if d.tail != nil {
		d.tail.Add(rec)
	}
	index := d.index
	d.index++
	d.saved.add(len(rec))
	d.work.bytes.Add(int64(len(rec)))
	if d.env.Store == nil || d.kind == "" {
		return nil
	}
	b := &store.Batch{}
	if d.gathered != nil {
		b = d.gathered.batch
	}
	b.Append(d.id, index, rec)
	if d.chain.Head().Sequence/d.node.CheckpointEvery > d.signed {
		d.checkpoint(b)
	}
	return d.commit(b)
}

// checkpoint adds a periodic checkpoint to the batch.
func (d *hosted) checkpoint(b *store.Batch) {
	d.signed = d.chain.Head().Sequence / d.node.CheckpointEvery
	c := d.checkpointFor(chain.PurposePeriodic, d.epoch)
	if !d.key.CanSign() || c.Sign(d.key) != nil {
		return
	}
	rec, err := journal.Encode(&journal.Checkpoint{Checkpoint: *c})
	if err != nil {
		d.env.Logger.Warn("signing a checkpoint", "daemon", d.id.Origin(), "error", err)
		return
	}
	if d.tail != nil {
		d.tail.Add(rec)
	}
	b.Append(d.id, d.index, rec)
	d.index++
}

func (d *hosted) checkpointFor(p chain.Purpose, epoch uint64) *chain.Checkpoint {
	return &chain.Checkpoint{Purpose: p, Entity: d.id, Epoch: epoch, Sequence: d.chain.Head().Sequence, Head: d.chain.HeadHash()}
}

// commit submits the batch, after what is gathered.
func (d *hosted) commit(b *store.Batch) *ticket {
	if g := d.gathered; g != nil {
		if g.batch == b {
			g.any = true
			return g.ticket
		}
		d.flush()
		defer d.gather()
	}
	return d.submit(b, newTicket())
}

// gathered is the records of a run of events, to be written as one.
type gathered struct {
	batch  *store.Batch
	ticket *ticket
	any    bool
}

// gather makes records wait for flush. It needs d.mu, which is held until then.
func (d *hosted) gather() {
	if d.env.Store != nil && d.kind != "" {
		d.gathered = &gathered{batch: &store.Batch{}, ticket: newTicket()}
	}
}

// flush submits what was gathered, and returns the ticket of the last record.
func (d *hosted) flush() *ticket {
	g := d.gathered
	d.gathered = nil
	if g == nil || !g.any {
		return d.last
	}
	return d.submit(g.batch, g.ticket)
}

func (d *hosted) submit(b *store.Batch, t *ticket) *ticket {
	d.last = t
	b.Generation = d.under
	if d.marked {
		b.Delete(store.Passive, d.id[:])
		d.marked = false
	}
	began, meter := d.timing, d.events
	finish := func(err error) {
		t.finish(err)
		if err == nil && !began.IsZero() {
			meter.delivery.Observe(time.Since(began))
		}
	}
	stored := func() {}
	if d.inTurn {
		finish, stored = d.fly(b.Size(), finish)
	}
	if d.leader == nil {
		d.env.Store.Submit(b, finish)
		return t
	}
	t.stored = make(chan struct{})
	d.leader.Submit(b, func(err error) {
		t.storedErr = err
		close(t.stored)
		stored()
	}, finish)
	return t
}
