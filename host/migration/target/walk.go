package target

import (
	"context"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// The target's walk through a migration, beside the source's in host/migration/source/walk.go.

// Arrival is one daemon on its way here: what the target of a migration knows. Its
// machine says where it stands; until it is Pending it can be dropped at any time, from
// then on only the source can say what becomes of it.
type Arrival struct {
	of    *Arrivals
	env   *env.Env
	from  identity.NodeID
	offer migration.Offer
	d     *engine.Daemon // holds its events; not in the runtime's table yet

	module   []byte
	snapshot []byte
	first    uint64        // index of the first record that came
	history  uint64        // index after the last record that came
	blocks   uint64        // messages of blocks that came
	bytes    int64         // of blocks, uncompressed
	limits   daemon.Limits // that the daemon will have here
	named    bool          // it may come without its own signature: see Arrivals.Named
	bare     bool          // its key is not to come along, and this node proves that it has it
	public   bool          // its key is not to come along, and stays with the source
	lent     bool          // its key was stored when it was prepared
	needs    bool          // the module
	known    bool          // it is here, and so is its kind
	next     uint64        // index, at the source, of the next record of the tail
	memory   *Memory
	began    time.Time        // by the runtime's clock
	receipts []*chain.Receipt // of earlier moves, that came with it
	lasting  *snapshot.Facts  // what it keeps for life; nil: the source does not say it
	earlier  arrivingModule

	room Share

	mu      lock.Mutex[lock.Arrival]
	at      migration.Machine
	walking chan struct{} // closed when the stream that feeds it is done with; nil: it came before this node's last start
	cut     func()        // ends that stream
	late    *time.Timer   // drops it, while it is Parked
	done    chan struct{} // closed at the end
}

// Entity implements table.Arrival.
func (in *Arrival) Entity() identity.EntityID { return in.offer.Entity }

// Name implements table.Arrival.
func (in *Arrival) Name() string { return in.offer.Name }

// From implements table.Arrival.
func (in *Arrival) From() identity.NodeID { return in.from }

// signal moves the arrival to its next phase; target.ErrPushedOut where it was dropped
// meanwhile.
func (in *Arrival) signal(s migration.Signal, by migration.Role) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.step(s, by)
}

// step is signal. It needs in.mu.
func (in *Arrival) step(s migration.Signal, by migration.Role) error {
	if in.at.Phase() == migration.Aborted {
		return ErrPushedOut
	}
	if err := in.at.Signal(s, by); err != nil {
		return migration.Failf(migration.ProtocolError, "%v", err)
	}
	in.env.Logger.Debug("a daemon on its way here", "daemon", in.offer.Entity.Origin(), "from", in.from, "phase", in.at.Phase())
	if in.at.Phase().Terminal() {
		in.end()
	}
	return nil
}

// end gives back what the arrival held, and tells who waits for it. It needs in.mu.
func (in *Arrival) end() {
	in.room.End()
	close(in.done)
}

// targetWalk is one stream of a migration to this node.
type targetWalk struct {
	in *Arrival
	c  migration.Conn
	// ctx carries the trace of the migration; it ends with the runtime.
	ctx context.Context
}

// Take takes the daemon that is offered, or goes on with what an earlier stream brought
// of it. bare says on what terms the key stays behind, where the source says so. It returns
// when the stream is done with; ctx may carry a trace.
func (t *Arrivals) Take(ctx context.Context, from identity.NodeID, c migration.Conn, offer *migration.Offer, bare *migration.BareOffer) (err error) {
	ctx, end := t.trace(ctx, offer.Entity)
	defer func() { end(err) }()
	defer func() {
		if err != nil {
			t.node.Ended(offer.Kind, exchange.ErrorOf(ctx, err))
		}
	}()
	in := t.takeUp(from, c, offer)
	if in == nil {
		if in, err = t.takeNew(ctx, from, c, offer, bare); err != nil {
			return err
		}
	}
	defer in.rest(&err)

	return (&targetWalk{in: in, c: c, ctx: ctx}).walk()
}

// takeNew admits a daemon of which nothing is here.
func (t *Arrivals) takeNew(ctx context.Context, from identity.NodeID, c migration.Conn, offer *migration.Offer, bare *migration.BareOffer) (*Arrival, error) {
	if err := t.cluster.MakeWay(ctx, offer.Entity); err != nil {
		return nil, err
	}

	in := &Arrival{of: t, env: t.env, from: from, offer: *offer, done: make(chan struct{}), at: migration.NewTarget(), walking: make(chan struct{}), cut: c.Abort, began: t.env.Clock()}
	in.bare, in.public = bare != nil && !bare.PublicOnly, bare != nil && bare.PublicOnly
	in.room.Of(t.room, from)
	in.memory = NewMemory(&in.offer, func() daemon.Daemon { return in.d.Position().Code })
	var err error
	in.needs, err = t.admit(in)
	return in, err
}

// walk walks through the phases, a line per step.
func (w *targetWalk) walk() error {
	steps := []func() error{
		w.accept,  // Transfer: what is here already
		w.prove,   // that the key is here, where it is not to come
		w.receive, // module, history, memory, snapshot
		w.restore, // Restore: the daemon stands at the snapshot
		w.replay,  // Replay: what happened meanwhile
		w.prepare, // the heads agree; all is durable: Pending
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return w.await() // the source's word: Complete, or Aborted
}

// accept tells the source what it need not send.
func (w *targetWalk) accept() error {
	in := w.in
	seal, err := in.env.Node.SealKey()
	if err != nil {
		return migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	return w.send(&migration.Accept{NeedModule: in.needs, Seal: seal, HaveModule: uint64(len(in.module)), HaveHistory: in.history, HaveBlocks: in.blocks})
}

// prove shows the source that the key is here which is not to come along.
func (w *targetWalk) prove() error {
	if !w.in.bare {
		return nil
	}
	proof, err := w.in.holds()
	if err != nil {
		return err
	}
	return w.send(proof)
}

// receive takes all that the daemon was when its source began.
func (w *targetWalk) receive() error {
	if err := w.in.receive(w.ctx, exchange.IdleTimeout{Conn: w.c}); err != nil {
		return err
	}
	if err := w.send(&migration.Arrived{}); err != nil {
		return err
	}
	return w.in.signal(migration.Received, migration.Target)
}

// restore makes the daemon, and tells the source at which head it stands.
func (w *targetWalk) restore() error {
	in := w.in
	if err := in.restore(w.ctx); err != nil {
		return err
	}
	if err := in.signal(migration.Restored, migration.Target); err != nil {
		return err
	}
	head := in.d.Position().HeadHash
	return w.c.Send(&migration.Ready{Sequence: in.d.Position().Head.Sequence, Head: head[:], Root: in.memory.Sum()})
}

// replay follows what the source did meanwhile, to its end.
func (w *targetWalk) replay() error { return w.in.replay(exchange.IdleTimeout{Conn: w.c}) }

// prepare makes all that came durable. From Pending on the daemon may be this node's.
func (w *targetWalk) prepare() error {
	in := w.in
	if err := in.keepAll(); err != nil {
		return err
	}
	return in.signal(migration.Agreed, migration.Target)
}

// await says that the daemon is prepared, and waits for the source's word. Where the
// source may not have heard it, it is asked.
func (w *targetWalk) await() error {
	d := w.in.d
	head := d.Position().HeadHash
	if err := w.c.Send(&migration.Prepared{Sequence: d.Position().Head.Sequence, Applied: d.Position().Applied, Head: head[:], Root: w.in.memory.Sum()}); err != nil {
		w.in.InDoubt()
		return nil
	}
	return w.in.awaitRelease(w.c)
}

// send sends the message; an error that says that the stream broke where it did.
func (w *targetWalk) send(m migration.Message) error {
	if err := w.c.Send(m); err != nil {
		return exchange.CutOff(err)
	}
	return nil
}

// keepAll makes all that came durable.
func (in *Arrival) keepAll() error {
	if in.env.Store == nil {
		return nil
	}
	b := &store.Batch{}
	if err := in.keep(b); err != nil {
		return err
	}
	return in.settleDown(b)
}

// submit writes for a daemon on its way, unless it was dropped: the store may
// hold another attempt by now.
func (in *Arrival) submit(b *store.Batch, done func(error)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at.Phase().Terminal() {
		return ErrPushedOut
	}
	if in.d != nil {
		b.Generation = in.d.Position().Generation
	}
	in.env.Store.Submit(b, done)
	return nil
}
