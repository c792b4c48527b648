package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/query"
	"wasmhost.example/host/internal/sandbox"
)

// A query is answered by the daemon's code under the daemon's lock, and undone. Where the
// daemon processes an event that takes long, or the query itself does, a copy of the daemon
// answers, see query.Copies. The answer is given once what it follows from is durable and, in a
// cluster, the node's lease was seen to hold after that.

// queryPatience is for how long a query may hold up events.
const queryPatience = 2 * time.Millisecond

// Query asks the daemon's code what changes nothing. Errors: daemon.ErrNoQueries,
// daemon.ErrManyQueries, daemon.ErrTooLarge, *daemon.GuestError, *daemon.MovedError. It needs
// no lock.
func (x Mailbox) Query(ctx context.Context, payload []byte) (daemon.Answer, error) {
	d := x.d
	if most := d.Limits().EventBytes; len(payload) > most {
		return daemon.Answer{}, fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(payload), most)
	}
	if !d.queries.Enter() {
		return daemon.Answer{}, fmt.Errorf("%w %s: %d", daemon.ErrManyQueries, d.id.Origin(), daemon.MaxQueries)
	}
	defer d.queries.Exit()

	q := query.Question{Payload: payload}
	if d.tryEnter() {
		d.answerQuery(&q)
		d.mu.Unlock()
	} else {
		waits := &query.Question{Payload: payload}
		if err := d.queueQuery(ctx, waits); err != nil {
			return daemon.Answer{}, err
		}
		q = *waits
	}

	if q.By != nil {
		if err := d.queries.Answer(ctx, &q, d.node.Copies, d.env.Logger); err != nil {
			return daemon.Answer{}, err
		}
	}
	if q.Tied {
		if err := q.Ticket.Wait(ctx); err != nil {
			return daemon.Answer{}, err
		}
	}
	return q.Answer, q.Err
}

// Queries returns how many queries wait for the daemon, or are being answered. It needs no lock.
func (x Mailbox) Queries() int64 { return x.d.queries.Waiting() }

// answerQuery has the daemon's code answer. It needs d.mu.
func (d *Daemon) answerQuery(q *query.Question) {
	code, ok := d.daemon.(daemon.Querier)
	if !ok {
		q.Err = daemon.ErrNoQueries
		return
	}

	c := d.queryCall()
	payload, err := code.Query(c, q.Payload, queryPatience)
	switch {
	case errors.Is(err, daemon.ErrNoQueries):
		q.Err = err
		return
	case errors.Is(err, daemon.ErrPatience):
		q.By, q.Err = d.glimpseOf()
		return
	case errors.Is(err, sandbox.ErrBroken):
		d.log.Add(3, err.Error())
		d.End(lifecycle.Fail, err)
		d.Notify(daemon.CannotGoOn, err.Error())
	}

	q.Answer = daemon.Answer{Payload: payload, Applied: d.applied, Sequence: d.chain.Sequence(), Epoch: d.epoch}
	q.Err, q.Tied = err, true
	if q.Ticket = d.last; d.leader != nil {
		q.Ticket = pending.NewTicket()
		d.leader.Barrier(q.Ticket.Finish)
	}
}

// queryCall is what the daemon's code learns of a query, at the time at which the daemon was
// entered for it or for the event beside it. It is reused. It needs d.mu.
func (d *Daemon) queryCall() *daemon.Call {
	c := &d.queries.Call
	c.Self, c.Epoch, c.Sequence, c.Time = d.id, d.epoch, d.applied, d.after(d.used)
	return c
}

// queueQuery waits for the daemon's lock, or for what the daemon was before the event that
// holds it.
func (d *Daemon) queueQuery(ctx context.Context, q *query.Question) error {
	s := &d.queries
	first, waits := s.Join(q)
	if !waits {
		return nil
	}

	if first {
		if d.env.Work.Begin() {
			go d.usher()
		} else {
			s.Fail(daemon.ErrShuttingDown)
		}
	}
	select {
	case <-q.Done:
		return nil
	case <-ctx.Done():
	}
	if s.Leave(q) {
		return fmt.Errorf("waiting for daemon %s: %w", d.id.Origin(), context.Cause(ctx))
	}
	<-q.Done // it is being answered
	return nil
}

// usher takes the daemon's lock for the queries that wait, one after the other.
func (d *Daemon) usher() {
	defer d.env.Work.Done()
	for {
		err := d.inside(d.env.Context, func(context.Context) error {
			d.mu.Lock()
			return nil
		})
		if err != nil {
			d.queries.Fail(err)
			return
		}

		q := d.queries.Next()
		if q != nil {
			d.answerQuery(q)
			close(q.Done)
		}
		d.mu.Unlock()
		if q == nil {
			return
		}
	}
}
