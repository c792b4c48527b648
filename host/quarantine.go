package host

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// List returns the failed events that nobody has dealt with, the latest
// first, as far as the last 65,536 history records go.
func (r Quarantine) List(ctx context.Context, id identity.EntityID) ([]daemon.Quarantined, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	failed, err := d.Upkeep().FailedEvents(ctx)
	if err != nil {
		return nil, err
	}
	var out []daemon.Quarantined
	for i := range failed {
		out = append(out, failed[i].Quarantined)
	}
	return out, nil
}

// Retry has the daemon process the failed event again, as what it was: of its
// kind, sender, number and channel, and at its time. Success settles it, in the same
// record; failure leaves it. ErrNotQuarantined where there is no such event.
func (r Quarantine) Retry(ctx context.Context, id identity.EntityID, index uint64) (daemon.Result, error) {
	d, q, err := r.rt.quarantined(ctx, id, index)
	if err != nil {
		return daemon.Result{}, err
	}
	if err := d.Mailbox().Enter(ctx, len(q.Payload)); err != nil {
		return daemon.Result{}, err
	}
	var p pending.Event
	err = d.Upkeep().ApplyAgain(&q, &p)
	d.Unlock()
	if err != nil {
		return daemon.Result{}, err
	}
	return p.Wait(ctx)
}

// Skip settles the failed event without trying it again.
func (r Quarantine) Skip(ctx context.Context, id identity.EntityID, index uint64) error {
	d, _, err := r.rt.quarantined(ctx, id, index)
	if err != nil {
		return err
	}
	rec, err := journal.Encode(&journal.Settled{Index: index})
	if err != nil {
		return err
	}
	if err := d.Look(ctx); err != nil {
		return err
	}
	t := d.Turns().Record(rec)
	d.Unlock()
	return t.Wait(ctx)
}

func (r *Runtime) quarantined(ctx context.Context, id identity.EntityID, index uint64) (*engine.Daemon, history.Failed, error) {
	if err := r.ready(); err != nil {
		return nil, history.Failed{}, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, history.Failed{}, err
	}
	list, err := d.Upkeep().FailedEvents(ctx)
	if err != nil {
		return nil, history.Failed{}, err
	}
	for _, q := range list {
		if q.Index == index {
			return d, q, nil
		}
	}
	return nil, history.Failed{}, fmt.Errorf("%w: %d, of daemon %s", daemon.ErrNotQuarantined, index, id.Origin())
}
