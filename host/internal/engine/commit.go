package engine

import (
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
)

// recording reports whether history is kept, here or for a migration.
func (d *Daemon) recording() bool { return d.env.Store != nil && d.kind != "" || d.tail != nil }

// Record submits the next history record and returns its ticket. The record
// becomes the store's.
func (x Turns) Record(rec []byte) *pending.Ticket {
	d := x.d
	if d.tail != nil {
		d.tail.Add(rec)
	}
	index := d.index
	d.index++
	d.saved.Add(len(rec))
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
func (d *Daemon) checkpoint(b *store.Batch) {
	d.signed = d.chain.Head().Sequence / d.node.CheckpointEvery
	c := d.Image().CheckpointFor(chain.PurposePeriodic, d.epoch)
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

func (x Image) CheckpointFor(p chain.Purpose, epoch uint64) *chain.Checkpoint {
	d := x.d
	return &chain.Checkpoint{Purpose: p, Entity: d.id, Epoch: epoch, Sequence: d.chain.Head().Sequence, Head: d.chain.HeadHash()}
}

// commit submits the batch, after what is gathered.
func (d *Daemon) commit(b *store.Batch) *pending.Ticket {
	if g := d.gathered; g != nil {
		if g.batch == b {
			g.any = true
			return g.ticket
		}
		d.Turns().Flush()
		defer d.Turns().Gather()
	}
	return d.submit(b, pending.NewTicket())
}

// gathered is the records of a run of events, to be written as one.
type gathered struct {
	batch  *store.Batch
	ticket *pending.Ticket
	any    bool
}

// Gather makes records wait for flush. It needs d.mu, which is held until then.
func (x Turns) Gather() {
	d := x.d
	if d.env.Store != nil && d.kind != "" {
		d.gathered = &gathered{batch: &store.Batch{}, ticket: pending.NewTicket()}
	}
}

// Flush submits what was gathered, and returns the ticket of the last record.
func (x Turns) Flush() *pending.Ticket {
	d := x.d
	g := d.gathered
	d.gathered = nil
	if g == nil || !g.any {
		return d.last
	}
	return d.submit(g.batch, g.ticket)
}

func (d *Daemon) submit(b *store.Batch, t *pending.Ticket) *pending.Ticket {
	d.last = t
	b.Generation = d.generation
	if d.marked {
		b.Delete(store.Passive, d.id[:])
		d.marked = false
	}
	began, meter := d.timing, d.events
	finish := func(err error) {
		t.Finish(err)
		if err == nil && !began.IsZero() {
			meter.Delivery.Observe(time.Since(began))
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
	here := t.InTwo()
	d.leader.Submit(b, func(err error) {
		here(err)
		stored()
	}, finish)
	return t
}
