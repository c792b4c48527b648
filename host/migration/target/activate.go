package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// What becomes of a prepared daemon: its source's release makes it ours, its
// source's refusal drops it, and while neither is heard the source is asked.

// awaitRelease waits for the source's word. A connection that breaks leaves
// the daemon in doubt.
func (in *Arrival) awaitRelease(c migration.Conn) error {
	rel, err := exchange.Receive[*migration.Release](c)
	var refused *exchange.Refusal
	switch {
	case errors.As(err, &refused):
		in.Discard(migration.Source)
		in.env.Logger.Info("the source kept a daemon", "daemon", in.offer.Entity.Origin(), "reason", refused)
		return nil
	case err != nil:
		in.InDoubt()
		return nil
	}
	if err := in.Activate(rel); err != nil {
		in.InDoubt()
		return err
	}
	in.of.done(in.from, c, rel)
	return nil
}

// done confirms a release, and waits for the source to sign its receipt.
func (t *Arrivals) done(from identity.NodeID, c migration.Conn, rel *migration.Release) {
	msg := &migration.Done{Epoch: rel.Epoch}
	rec, err := t.evidence.ReceiptAt(rel.Entity, rel.Epoch)
	if err == nil && rec != nil {
		msg.Receipt, err = (&chain.Receipt{Facts: rec.Facts, Target: rec.Target, TargetSignature: rec.TargetSignature}).Encode()
	}
	if err != nil {
		t.env.Logger.Error("reading the receipt of a migration", "daemon", rel.Entity.Origin(), "error", err)
	}
	if err := c.Send(msg); err != nil {
		t.env.Logger.Debug("answering on a migration stream", "error", err)
		return
	}
	t.tellBound(c, rel.Entity)
	if rec == nil || rec.Whole() {
		return
	}
	answer, err := exchange.Receive[*migration.Receipt](exchange.IdleTimeout{Conn: c})
	if err == nil {
		err = t.evidence.TakeReceipt(from, answer.Bytes)
	}
	if err != nil {
		t.env.Logger.Info("a receipt has this node's signature only", "daemon", rel.Entity.Origin(), "from", from, "error", err)
	}
}

// Activate makes the daemon ours. It may be called again.
func (in *Arrival) Activate(rel *migration.Release) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch in.at.Phase() {
	case migration.Pending:
	case migration.Complete:
		return nil
	case migration.Claimed, migration.Aborted:
		return ErrPushedOut
	default:
		return migration.Failf(migration.StateFailed, "a release came of daemon %s, which is not prepared here yet", in.offer.Entity.Origin())
	}

	d, o := in.d, &in.offer
	d.Lock()
	defer d.Unlock()
	head := d.Position().HeadHash
	if rel.Migration != o.Migration || rel.Entity != o.Entity || rel.Epoch != o.Epoch+1 || rel.Sequence != d.Position().Head.Sequence || !bytes.Equal(rel.Head, head[:]) {
		return migration.Failf(migration.ProtocolError, "the release is not of the daemon that was prepared")
	}
	check, err := in.terms().HandedOver(rel, head)
	if err != nil {
		return err
	}
	key, err := in.key(rel)
	if err != nil {
		return err
	}
	d.Making().SetKey(key)
	went, back, err := in.of.known.Returns(o.Entity)
	if err != nil {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	here := false
	defer func() { back(here) }()
	if err := in.own(rel, check, went); err != nil {
		return err
	}
	in.of.cluster.Attach(d)
	in.of.table.Activate(in, d)
	here = true
	if err := in.step(migration.Released, migration.Source); err != nil {
		return err
	}
	if of, ok := d.Position().Code.(moving.Memory); ok {
		of.Thaw()
	}
	d.Resume()
	in.of.cluster.LookSoon()
	in.of.subscriber.Start(d.Entity(), d.Position().Ledger.All())
	d.Effects().StartEffects()
	d.Memory().AccountMemory()
	in.of.node.Ended(o.Kind, nil)
	in.env.Notify(daemon.Notification{Topic: daemon.Came, Entity: d.Entity(), Name: d.Name(), Kind: d.Kind(), Epoch: d.Position().Epoch, Peer: in.from})
	in.env.Logger.Info("a daemon came", "daemon", o.Entity.Origin(), "name", o.Name, "from", in.from, "epoch", d.Position().Epoch)
	return nil
}

// key opens the envelope; without one it is what was registered here, or the
// public half. What was promised and cannot be opened is an error.
func (in *Arrival) key(rel *migration.Release) (*identity.KeyPair, error) {
	if !in.offer.Identity {
		return in.of.expectedKey(in.offer.Entity), nil
	}
	env, err := identity.ParseEnvelope(rel.Envelope)
	if err != nil {
		return nil, migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	head := in.d.Position().Head
	key, err := env.Open(in.env.Node, head.Bytes(), in.offer.Entity)
	if err != nil {
		return nil, migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	return key, nil
}

// own writes durably that the daemon is ours, which went has been until now. It needs
// d.mu.
func (in *Arrival) own(rel *migration.Release, hand Handoff, went table.Tombstone) error {
	d, id := in.d, in.offer.Entity
	move, err := journal.Encode(&journal.Move{From: in.from, To: in.env.Self, Epoch: rel.Epoch, Time: d.Turns().Now(), Checkpoint: hand.Checkpoint()})
	if err != nil {
		return err
	}
	root := []byte(nil)
	if in.memory != nil { // else it came before this node's last start
		root = in.memory.Sum()
	}
	facts, err := d.Moves().ReceiptFacts(rel.Migration, in.from, in.env.Self, rel, root)
	if err != nil {
		return err
	}
	half, err := in.signArrival(facts)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	if err := errors.Join(in.of.evidence.PutReceipts(b, append(in.receipts, half)...), losses.Keep(b, id, in.lasting)); err != nil {
		return err
	}
	if in.env.Store != nil {
		rec, err := d.Making().EncodeRecord()
		if err != nil {
			return err
		}
		b.Put(store.Daemons, id[:], rec)
		b.Append(id, d.Position().Next, move)
		b.Delete(store.Incoming, id[:])
		b.Delete(store.Meta, snapshot.ArrivingKey(id))
		went.Raise(b, id)
		if d.Position().Key.CanSign() {
			b.Delete(store.Meta, stored.KeptKey(id)) // it is the daemon's again
		}
		b.Generation = d.Position().Generation
		if err := in.env.Store.Commit(b); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
	}
	in.of.losses.Show(id, in.lasting)
	check := hand.Checkpoint()
	d.Making().HasCome(rel.Epoch, &check, in.env.Store != nil)
	return nil
}

// giveWay makes room for another attempt of the same source, where that is
// safe. Of a prepared daemon only the source can say: the other attempt's offer
// may be an old one that comes late.
func (in *Arrival) giveWay() error {
	in.Discard(migration.Target)
	in.mu.Lock()
	pending := in.at.Phase() == migration.Pending
	in.mu.Unlock()
	if !pending {
		return nil
	}
	return in.ask()
}

// Discard drops the daemon where by may have it dropped: the source serves it, or it
// came by another attempt. It reports whether it did.
func (in *Arrival) Discard(by migration.Role) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.step(migration.Failed, by) != nil {
		return false
	}

	t, o := in.of, &in.offer
	if in.d != nil {
		in.d.Lock()
		in.d.End(lifecycle.Leave, &daemon.NotFoundError{Entity: o.Entity})
		in.d.Unlock()
	}
	if t.env.Store != nil && in.of.node.Open() == nil {
		b := &store.Batch{}
		b.Delete(store.Snapshots, o.Entity[:])
		b.Delete(store.Incoming, o.Entity[:])
		b.Delete(store.Meta, snapshot.ArrivingKey(o.Entity))
		b.DeleteHistory(o.Entity)
		if in.lent {
			b.Delete(store.Meta, stored.KeptKey(o.Entity))
		}
		if err := t.env.Store.Commit(b); err != nil {
			t.env.Logger.Error("dropping a daemon that did not come", "daemon", o.Entity.Origin(), "error", err)
		}
	}
	t.table.Drop(in)
	return true
}

// ShutDown lets go of the daemon in memory. What is pending stays on disk, for the next
// start.
func (in *Arrival) ShutDown() {
	if in.Discard(migration.Target) {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at.Phase() != migration.Pending {
		return
	}
	in.end()
	in.d.Lock()
	in.d.End(lifecycle.Leave, &daemon.NotFoundError{Entity: in.offer.Entity})
	in.d.Unlock()
}

// InDoubt asks the source, again and again, what became of the migration.
func (in *Arrival) InDoubt() {
	t := in.of
	if !t.env.Work.Begin() {
		return
	}
	go func() {
		defer t.env.Work.Done()
		for tries := exchange.Retry.Start(); ; {
			if err := in.ask(); err != nil {
				t.env.Logger.Warn("a daemon is held until its source is heard", "daemon", in.offer.Entity.Origin(), "source", in.from, "error", err)
			}
			if tries.Wait(t.env.Context, in.done) != nil {
				return
			}
		}
	}()
}

// ask puts the question once.
func (in *Arrival) ask() error {
	peer, err := in.of.mesh.Peer(in.from)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(in.env.Context, 10*time.Second)
	defer cancel()
	c, err := peer.OpenMigration(ctx)
	if err != nil {
		return err
	}
	defer c.Abort()
	if err := c.Send(&migration.Ask{Migration: in.offer.Migration, Entity: in.offer.Entity}); err != nil {
		return err
	}
	msg, err := c.Recv()
	if err != nil {
		return err
	}
	switch msg := msg.(type) {
	case *migration.Hold:
		return nil
	case *migration.Release:
		if err := in.Activate(msg); err != nil {
			return err
		}
		if err := c.Send(&migration.Done{Epoch: msg.Epoch}); err != nil {
			return err
		}
		return c.Close()
	case *migration.Refuse:
		if msg.Code == migration.NotReady || msg.Code == migration.ComputeNotSupported {
			return fmt.Errorf("the source is not ready: %s", msg.Text)
		}
		in.Discard(migration.Source)
		return nil
	default:
		return migration.Failf(migration.ProtocolError, "a %T in answer to a question", msg)
	}
}

// TakeRelease answers a source that repeats its release.
func (t *Arrivals) TakeRelease(from identity.NodeID, c migration.Conn, rel *migration.Release) error {
	w, err := t.known.Find(rel.Entity)
	if err != nil {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	in, d := w.Coming, w.Here
	switch {
	case in != nil && in.from == from:
		if err := in.Activate(rel); err != nil {
			return err
		}
	case d != nil && d.Moves().OwnsUnder(rel.Epoch), w.Went.Epoch >= rel.Epoch:
	default:
		return migration.Failf(migration.StateFailed, "node %s holds nothing of daemon %s for migration %x", t.env.Self, rel.Entity.Origin(), rel.Migration)
	}
	t.done(from, c, rel)
	return nil
}

// signArrival makes the target's half of the receipt.
func (in *Arrival) signArrival(f chain.ReceiptFacts) (*chain.Receipt, error) {
	rec := &chain.Receipt{Facts: f}
	return rec, rec.SignTarget(in.env.Node, chain.ReceiptTarget{Activated: in.env.Clock().UnixNano()})
}
