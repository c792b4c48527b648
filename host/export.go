package host

import (
	"context"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Export writes the daemon's chain, as it stands, to w, sealed by the
// daemon. It needs a store: ErrNoHistory.
func (r Outputs) Export(ctx context.Context, id identity.EntityID, w io.Writer) error {
	if err := r.rt.ready(); err != nil {
		return err
	}
	d, err := r.rt.find(id)
	if err != nil {
		return err
	}
	if r.rt.env.Store == nil || d.Kind() == "" {
		return fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, id.Origin())
	}
	end, seal, err := r.rt.sealFor(ctx, d)
	if err != nil {
		return err
	}
	return d.WhileHere(r.rt.writeChain(id, end, seal, w))
}

// sealFor returns the daemon's signature under its chain as it stands, and how
// many records that has, once they are durable. A daemon that cannot go on still
// has what is stored.
func (r *Runtime) sealFor(ctx context.Context, d *engine.Daemon) (uint64, *chain.Checkpoint, error) {
	if err := d.Look(ctx); err != nil {
		if ctx.Err() != nil || !d.CannotGoOn() && !errors.Is(err, daemon.ErrHeld) {
			return 0, nil, err
		}
		if peekErr := d.Peek(ctx); peekErr != nil {
			return 0, nil, errors.Join(err, peekErr)
		}
		defer d.Unlock()
		end, seal, sealErr := r.storedSeal(ctx, d.Entity())
		if sealErr != nil {
			return 0, nil, errors.Join(err, sealErr)
		}
		return end, seal, nil
	}
	end, last := d.Position().Next, d.Position().Last
	seal := d.Image().CheckpointFor(chain.PurposeExport, d.Position().Epoch)
	err := seal.Sign(d.Position().Key)
	d.Unlock()
	if err != nil {
		return 0, nil, err
	}
	return end, seal, last.Wait(ctx)
}

// storedSeal is sealFor from what is stored alone.
func (r *Runtime) storedSeal(ctx context.Context, id identity.EntityID) (uint64, *chain.Checkpoint, error) {
	end, err := r.env.Store.HistoryEnd(id)
	if err != nil {
		return 0, nil, err
	}
	at, err := stored.BeginningAt(ctx, r.env.Store, id, end)
	if err != nil {
		return 0, nil, err
	}
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return 0, nil, err
	}
	d := engine.Bare(r.daemons, id, identity.PublicOnly(id))
	if err := d.Making().OpenKey(encoded); err != nil {
		return 0, nil, err
	}
	defer d.Position().Key.Wipe()
	seal := &chain.Checkpoint{Purpose: chain.PurposeExport, Entity: id, Epoch: at.Epoch, Sequence: at.Head.Sequence, Head: at.Head.Hash(at.HeadPayload)}
	return end, seal, seal.Sign(d.Position().Key)
}

// chainExport writes a daemon's records as a chain file.
type chainExport struct {
	*chain.Writer
	id    identity.EntityID
	begun bool
}

// record writes one record of the daemon's history.
func (c *chainExport) record(b []byte) error {
	rec, err := journal.Decode(b)
	if err != nil {
		return err
	}
	if _, begins := rec.(*journal.Begin); begins == c.begun {
		return fmt.Errorf("%w: a %T where the history begins: %v", journal.ErrMalformed, rec, !c.begun)
	}
	c.begun = true

	switch rec := rec.(type) {
	case *journal.Begin:
		return c.Begin(c.id, rec.Kind, rec.Module, &rec.Head, rec.HeadPayload, &rec.Checkpoint)
	case *journal.Event:
		links := rec.Links()
		for i := range links {
			if err := c.Output(&links[i]); err != nil {
				return err
			}
		}
	case *journal.Checkpoint:
		return c.Check(&rec.Checkpoint)
	case *journal.Move:
		return c.Move(rec.From, rec.To, rec.Epoch, &rec.Checkpoint)
	case *journal.Mend:
		return c.Mended(&rec.Fact, &rec.Checkpoint)
	case *journal.Upgrade:
		return c.Upgrade(rec.To, &rec.Checkpoint)
	}
	return nil
}
