package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/forkpoint"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/identity"
)

// A fork is a daemon of its own, with a key and a chain of its own, that begins
// with what another was after one of its events. Its genesis carries the
// ForkRecord by which the parent's key says so.

// MaxForks is how many forks one call makes at most.
const MaxForks = 256

// ForkRequest says what forks to make. The zero ForkRequest makes one of the
// daemon as it is now.
type ForkRequest struct {
	// At is the sequence of an output of the daemon: the forks begin with its
	// state right after the event that emitted it; 0: as it was spawned. nil: now.
	At *uint64

	// LastGood is for a daemon that is failed or diverged: the forks begin with
	// its state after the last record of its history that can be replayed. The
	// daemon itself stays as it is.
	LastGood bool

	Count  int           // 0: 1; at most MaxForks
	Name   string        // of the fork; of several, what comes before -1, -2, …; empty: made
	Limits daemon.Limits // of their own, where set: over the parent's own
}

// Forked is one fork that was made.
type Forked struct {
	daemon.Info
	Record chain.ForkRecord
}

// Fork makes daemons that begin with the state of this one. All of them are made,
// or none. A fork has the parent's kind, module, the module before that (which it can be
// rolled back to), configuration, timers and memory of senders, so that an event that the
// state contains is not applied again; it is subscribed to nothing and granted nothing. It
// was spawned when it was forked, and has failed on nothing. The parent goes on. Errors:
// *NotFoundError, *MovedError, ErrNoForkPoint, ErrHistoryTrimmed, ErrAlreadyMigrating, ErrNotPortable,
// ErrDiverged where a replay gives other outputs than are recorded,
// identity.ErrReadOnly where the parent has no private key here, and those of
// Spawn.
func (r *Runtime) Fork(ctx context.Context, parent identity.EntityID, req ForkRequest) (forks []Forked, err error) {
	if err := errors.Join(r.ready(), r.room(), req.Limits.ValidateOwn()); err != nil {
		return nil, err
	}
	if req.Count == 0 {
		req.Count = 1
	}
	if req.Count < 0 || req.Count > MaxForks {
		return nil, fmt.Errorf("%w: %d forks, at most %d", daemon.ErrTooLarge, req.Count, MaxForks)
	}
	if req.Name != "" {
		if err := daemon.ValidDaemonName(forkName(req.Name, req.Count, req.Count)); err != nil {
			return nil, err
		}
	}
	d, err := r.find(parent)
	if err != nil {
		return nil, err
	}
	p, err := r.forkPoint(ctx, d, &req)
	if err != nil {
		return nil, fmt.Errorf("forking daemon %s: %w", parent.Origin(), d.WhileHere(err))
	}
	defer p.Wipe()
	defer func() {
		if err == nil {
			return
		}
		for _, f := range forks {
			if stopErr := r.remove(context.WithoutCancel(ctx), f.Entity); stopErr != nil {
				err = errors.Join(err, fmt.Errorf("fork %s is left: %w", f.Entity.Origin(), stopErr))
			}
		}
		forks = nil
	}()
	for n := 1; n <= req.Count; n++ {
		begun := *p
		i, err := r.spawn(ctx, daemon.SpawnRequest{Kind: p.Header().Kind, Name: forkName(req.Name, n, req.Count), Limits: req.Limits}, nil, nil, &begun)
		if err != nil {
			return forks, fmt.Errorf("forking daemon %s: %w", parent.Origin(), err)
		}
		forks = append(forks, Forked{i, begun.Record()})
	}
	r.env.Logger.Info("forked", "daemon", parent.Origin(), "after", p.Header().Through, "forks", req.Count)
	return forks, nil
}

func forkName(name string, n, of int) string {
	if name == "" || of == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// ForkOf returns the record by which the daemon began as a fork; nil where it did
// not, or its history does not reach back to that.
func (r Daemons) ForkOf(id identity.EntityID) (*chain.ForkRecord, error) {
	d, err := r.rt.find(id)
	if err != nil || r.rt.env.Store == nil || d.Kind() == "" {
		return nil, err
	}
	_, begin, err := stored.Beginning(r.rt.env.Store, id)
	if err != nil || begin.Head.Sequence != 0 || len(begin.HeadPayload) == 0 {
		return nil, d.WhileHere(err)
	}
	return chain.ForkOfGenesis(&begin.Head, begin.HeadPayload)
}

// forkPoint finds the moment that the request names.
func (r *Runtime) forkPoint(ctx context.Context, d *engine.Daemon, req *ForkRequest) (*forkpoint.Point, error) {
	if d.Kind() == "" {
		return nil, fmt.Errorf("%w: the daemon is of no kind that another could be made of", daemon.ErrNotPortable)
	}
	if !d.Moves().BeginMove() { // its memory has one watcher at a time
		return nil, fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, d.Entity().Origin())
	}
	defer d.Moves().EndMove()
	if req.LastGood {
		if !d.CannotGoOn() {
			return nil, fmt.Errorf("%w: %s", ErrNotFailed, d.Entity().Origin())
		}
		return forkpoint.LastGood(ctx, r.daemons, d)
	}
	if err := d.Look(ctx); err != nil {
		if req.At == nil || ctx.Err() != nil || !d.CannotGoOn() {
			return nil, err
		}
		return forkpoint.Past(ctx, r.daemons, d, *req.At)
	}
	head, last := d.Position().Head, d.Position().Last
	if req.At != nil {
		d.Unlock()
		if *req.At > head.Sequence {
			return nil, fmt.Errorf("%w: output %d, it has emitted %d", daemon.ErrNoForkPoint, *req.At, head.Sequence)
		}
		if err := last.Wait(ctx); err != nil {
			return nil, err
		}
		return forkpoint.Past(ctx, r.daemons, d, *req.At)
	}
	p, err := forkpoint.Of(d)
	d.Unlock()
	if err != nil {
		return nil, err
	}
	if err = last.Wait(ctx); err == nil {
		err = p.Finish(d.Limits().StateBytes)
	}
	p.Thaw()
	return p, err
}
