package target

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Claim serves the daemon that is held here.
func (in *Arrival) Claim(key *identity.KeyPair) (chain.Mended, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at.Phase() != migration.Pending {
		return chain.Mended{}, fmt.Errorf("%w: %s", migration.ErrSettled, in.offer.Entity.Origin())
	}
	d, id, t := in.d, in.offer.Entity, in.of
	d.Lock()
	defer d.Unlock()
	if key == nil {
		key = t.expectedKey(id)
	} else {
		key = key.Clone()
	}
	d.Making().SetKey(key)
	fact, b, err := d.Upkeep().RepairFact(chain.MendClaim, in.offer.Epoch+2)
	if err != nil {
		return chain.Mended{}, err
	}
	went, back, err := t.known.Returns(id)
	if err != nil {
		return chain.Mended{}, err
	}
	here := false
	defer func() { back(here) }()
	rec, err := d.Making().EncodeRecord()
	if err != nil {
		return chain.Mended{}, err
	}
	b.Put(store.Daemons, id[:], rec)
	b.Delete(store.Incoming, id[:])
	went.Raise(b, id)
	if err := t.env.Store.Commit(b); err != nil {
		return chain.Mended{}, err
	}
	d.Making().GoOn(fact.Epoch)
	t.table.Activate(in, d)
	here = true
	if err := in.step(migration.Overruled, migration.Operator); err != nil {
		return chain.Mended{}, err
	}
	d.Resume()
	t.subscriber.Start(d.Entity(), d.Position().Ledger.All())
	d.Memory().AccountMemory()
	t.env.Logger.Warn("a daemon was claimed; its source must not come back with it", "daemon", id.Origin(), "source", in.from, "epoch", fact.Epoch)
	return fact, nil
}

// suspect compares a daemon that is on its way here, its snapshot and the history that
// came before it, with its last word to this node.
func (in *Arrival) suspect(s *snapshot.Snapshot) error {
	err := in.compare(s)
	if errors.Is(err, chain.ErrEquivocated) {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	return err
}

func (in *Arrival) compare(s *snapshot.Snapshot) error {
	t, id := in.of, in.offer.Entity
	w, err := t.evidence.LastWord(id)
	if err != nil || w == nil {
		return err
	}
	if in.history == 0 {
		return t.evidence.Compare(id, w.Source, evidence.SnapshotSource(s))
	}
	written := make(chan error, 1) // what was submitted before can then be read
	if err := in.submit(&store.Batch{}, func(err error) { written <- err }); err != nil {
		return err
	}
	if err := <-written; err != nil {
		return err
	}
	came, err := evidence.HistorySource(in.env.Store, id, w.From(), in.history, &s.Checkpoint)
	if err != nil {
		return err
	}
	return t.evidence.Compare(id, w.Source, came)
}

// holds proves that this node has the daemon's key.
func (in *Arrival) holds() (*migration.Holds, error) {
	key := in.of.expectedKey(in.offer.Entity)
	defer key.Wipe()
	proof, err := exchange.ProveHolds(key, in.offer.Migration, in.from, in.env.Self)
	if err != nil {
		return nil, errNoKeyHere(in.env.Self, in.offer.Entity)
	}
	return proof, nil
}

func errNoKeyHere(node identity.NodeID, id identity.EntityID) *migration.Error {
	return migration.Failf(migration.IdentityTransportFailed, "the key of daemon %s is to stay behind, and node %s was not given it", id.Origin(), node)
}

// keyless reports whether this node has no key for the daemon, unless the daemon
// brings it.
func (t *Arrivals) keyless(id identity.EntityID) bool {
	key := t.expectedKey(id)
	defer key.Wipe()
	return !key.CanSign()
}

// trace begins the span of a daemon that comes here; end takes what became of it.
func (t *Arrivals) trace(ctx context.Context, id identity.EntityID) (_ context.Context, end func(error)) {
	if t.env.Tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(error) {}
	}
	ctx, span := t.env.Tracer.Start(ctx, "take", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(exchange.SpanAttributes(t.env.Self, id)...))
	return ctx, func(err error) { exchange.EndSpan(span, err) }
}
