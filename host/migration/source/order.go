package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// An orchestrator that is not the source asks the source to move its daemon.
// The source drives; the state flows from it to the target; the orchestrator
// hears the phases and the outcome, and may cancel.

// order asks o.Source to move the daemon and returns at once.
func (t *Departures) order(caller context.Context, id identity.EntityID, target identity.NodeID, o Options) (*Migration, error) {
	if t.mesh == nil {
		return nil, migration.Failf(migration.SourceUnavailable, "this node has no peers")
	}
	if o.RetryNotReady > migration.MaxRetryNotReady {
		return nil, migration.Failf(migration.ProtocolError, "RetryNotReady is %v; another node asks for at most %v", o.RetryNotReady, migration.MaxRetryNotReady)
	}
	peer, err := t.mesh.Peer(o.Source)
	if err != nil {
		return nil, migration.Failf(migration.SourceUnavailable, "%v", err)
	}
	m, err := t.newMigration(id, nil, target, o)
	if err != nil {
		return nil, exchange.ErrorOf(t.env.Context, err)
	}
	ctx, cancel := context.WithCancelCause(t.env.Context)
	m.cancel = cancel
	if !t.env.Work.Begin() {
		cancel(nil)
		return nil, daemon.ErrShuttingDown
	}
	if !t.orders.add(m) {
		t.env.Work.Done()
		cancel(nil)
		return nil, migration.Failf(migration.AlreadyMigrating, "this node has ordered a migration of daemon %s already", id.Origin())
	}
	go func() {
		defer t.env.Work.Done()
		defer cancel(nil)
		ctx := m.trace(ctx, caller, "order")
		m.outcome(m.follow(ctx, peer))
	}()
	return m, nil
}

// orders are the migrations away from other nodes that this node ordered.
type orders struct {
	mu lock.Mutex[lock.Leaf]
	of map[identity.EntityID]*Migration
}

// add notes the migration; false where the node has ordered one of the daemon already.
func (o *orders) add(m *Migration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()

	if o.of[m.entity] != nil {
		return false
	}
	if o.of == nil {
		o.of = make(map[identity.EntityID]*Migration)
	}
	o.of[m.entity] = m
	return true
}

func (o *orders) remove(m *Migration) {
	o.mu.Lock()
	defer o.mu.Unlock()

	delete(o.of, m.entity)
}

// get returns the daemon's migration that was ordered; nil: there is none.
func (o *orders) get(id identity.EntityID) *Migration {
	o.mu.Lock()
	defer o.mu.Unlock()

	return o.of[id]
}

// all returns them, in no order.
func (o *orders) all() []*Migration {
	o.mu.Lock()
	defer o.mu.Unlock()

	return slices.Collect(maps.Values(o.of))
}

// Ordered returns the migration of a daemon away from another node that this node
// ordered, and that is not over; nil: there is none.
func (t *Departures) Ordered(id identity.EntityID) *Migration { return t.orders.get(id) }

// AllOrdered returns all of these, in no order.
func (t *Departures) AllOrdered() []*Migration { return t.orders.all() }

// follow has the source move the daemon and hears how it goes. It returns what
// the source says at the end, or why nothing more is heard of it.
func (m *Migration) follow(ctx context.Context, peer mesh.Peer) (*migration.Outcome, error) {
	c, err := peer.OpenMigration(m.spanned(m.env.Context)) // longer than ctx: a cancellation is said over it
	if err != nil {
		return nil, err
	}
	defer c.Abort()
	err = c.Send(&migration.Order{Version: migration.Version, Entity: m.entity, Target: m.target,
		OmitIdentity: m.options.OmitIdentity, RetryNotReady: uint64(m.options.retryNotReady()),
		Bounds: m.options.bounds()})
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == errCancelled { // not: this node shuts down
			exchange.Answer(m.env.Logger, c, migration.NewRefuse(errCancelled))
		}
	})()
	for {
		msg, err := c.Recv()
		if err != nil {
			return nil, err
		}
		switch msg := msg.(type) {
		case *migration.Step:
			m.mu.Lock()
			m.bytes, m.parts, m.whole = int64(msg.Bytes), int64(msg.Done), int64(msg.Whole)
			if msg.Phase != m.at.Phase() {
				err = m.hear(msg.Phase)
			} else if len(msg.Rounds) > 0 {
				r := roundOf(msg.Rounds[0])
				m.tell(&r)
			} else {
				m.tell(nil)
			}
			m.mu.Unlock()
			if err != nil {
				return nil, err
			}
		case *migration.Outcome:
			return msg, nil
		case *migration.Refuse:
			f := migration.NewFailure(&migration.Error{Code: msg.Code, Text: msg.Text})
			return &migration.Outcome{Failures: []migration.Failure{f}}, nil
		default:
			return nil, migration.Failf(migration.ProtocolError, "the source sent a %T about an order", msg)
		}
	}
}

// outcome ends an ordered migration. Where the source was not heard to the end,
// the phase stays what it was: nobody knows better here.
func (m *Migration) outcome(o *migration.Outcome, err error) {
	m.mu.Lock()
	switch {
	case err != nil:
		m.err = migration.Failf(migration.SourceUnavailable, "node %s was to move daemon %s to %s and is heard no more; it may go on: %v",
			m.source, m.entity.Origin(), m.target, err)
	case len(o.Failures) > 0:
		m.err = o.Failures[0].Err()
		if err := m.hear(migration.Aborted); err != nil {
			m.err = err
		}
	default:
		m.epoch, m.bytes, m.downtime = o.Epoch, int64(o.Bytes), time.Duration(o.Downtime)
		for _, p := range o.Rounds {
			m.passes = append(m.passes, roundOf(p))
		}
		if len(o.Receipt) > 0 {
			m.receipt = m.of.heard(o.Receipt, m.entity)
		}
		m.unbound = unboundOf(o.Unbound)
		if err := m.hear(migration.Complete); err != nil {
			m.err = err
		}
		m.took = nil
		for _, s := range o.Took {
			m.took = append(m.took, PhaseTime{s.Phase, time.Duration(s.Took)})
		}
	}
	m.traceEnd(m.err)
	m.mu.Unlock()
	m.of.orders.remove(m)
	m.changes.Close()
	m.progress.Close()
	close(m.done)
}

// TakeOrder moves a daemon for from, and tells it how it goes. When from is
// gone the migration goes on. An order that has been carried out already is
// answered again.
func (t *Departures) TakeOrder(ctx context.Context, from identity.NodeID, c migration.Conn, o *migration.Order) error {
	if o.Version != migration.Version {
		return migration.Failf(migration.ProtocolError, "version %d of the migration protocol, this node speaks %d", o.Version, migration.Version)
	}
	opts := Options{OmitIdentity: o.OmitIdentity, RetryNotReady: retryOrdered(o.RetryNotReady)}
	opts.within(o.Bounds)
	opts.watch = ctx
	m, err := t.Start(ctx, o.Entity, o.Target, opts)
	var moved *daemon.MovedError
	if errors.As(err, &moved) && moved.Node == o.Target {
		return c.Send(&migration.Outcome{Epoch: moved.Epoch})
	}
	if err != nil {
		return err
	}
	t.env.Logger.Info("ordered to move a daemon", "daemon", o.Entity.Origin(), "by", from, "to", o.Target)
	go func() { // ends with the stream
		if _, err := exchange.Receive[*migration.Refuse](c); err == nil {
			m.Cancel()
		}
	}()
	for p := range m.watched {
		if p.Phase.Terminal() {
			break
		}
		step := &migration.Step{Phase: p.Phase, Bytes: uint64(p.Bytes), Done: uint64(p.Done), Whole: uint64(p.Whole)}
		if p.Round != nil {
			step.Rounds = []migration.Pass{passOf(p.Round)}
		}
		if err := c.Send(step); err != nil {
			t.env.Logger.Debug("whoever ordered a migration is gone", "daemon", o.Entity.Origin(), "by", from, "error", err)
			return nil
		}
	}
	rep, err := m.Wait(ctx)
	if err != nil {
		return c.Send(&migration.Outcome{Failures: []migration.Failure{migration.NewFailure(exchange.ErrorOf(t.env.Context, err))}})
	}
	out := &migration.Outcome{Epoch: rep.Epoch, Bytes: uint64(rep.Bytes), Downtime: uint64(rep.Downtime)}
	for _, u := range rep.Unbound {
		out.Unbound = append(out.Unbound, migration.NewUnbound(u.Publisher, u.Channel, uint16(channel.CodeOf(u.Err)), u.Err))
	}
	for _, p := range rep.Phases {
		out.Took = append(out.Took, migration.Span{Phase: p.Phase, Took: uint64(p.Took)})
	}
	for k := range rep.Rounds {
		out.Rounds = append(out.Rounds, passOf(&rep.Rounds[k]))
	}
	if rep.Receipt != nil {
		if out.Receipt, err = rep.Receipt.Encode(); err != nil {
			return err
		}
	}
	return c.Send(out)
}

func passOf(r *migration.Round) migration.Pass {
	return migration.Pass{Number: uint64(r.Number), How: r.How, Records: uint64(r.Records), Blocks: uint64(r.Blocks), Bytes: uint64(r.Bytes),
		Took: uint64(r.Took), Left: uint64(r.Left), Slowed: uint64(r.Slowed)}
}

func roundOf(p migration.Pass) migration.Round {
	return migration.Round{Number: int(p.Number), How: p.How, Records: int(p.Records), Blocks: int(p.Blocks), Bytes: int64(p.Bytes),
		Took: time.Duration(p.Took), Left: time.Duration(p.Left), Slowed: time.Duration(p.Slowed)}
}

// heard returns a receipt that the source of an ordered migration sent; nil
// where it is none of that daemon, or not good.
func (t *Departures) heard(b []byte, id identity.EntityID) *chain.Receipt {
	rec, err := chain.DecodeReceipt(b)
	if err == nil {
		err = rec.Verify()
	}
	if err == nil && rec.Facts.Entity != id {
		err = fmt.Errorf("%w: of another daemon", chain.ErrBadReceipt)
	}
	if err != nil {
		t.env.Logger.Warn("the source of an ordered migration sent no good receipt", "daemon", id.Origin(), "error", err)
		return nil
	}
	return rec
}
