package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/snapshot"
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
	defer p.key.Wipe()
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
		i, err := r.spawn(ctx, daemon.SpawnRequest{Kind: p.header.Kind, Name: forkName(req.Name, n, req.Count), Limits: req.Limits}, nil, nil, &begun)
		if err != nil {
			return forks, fmt.Errorf("forking daemon %s: %w", parent.Origin(), err)
		}
		forks = append(forks, Forked{i, begun.record})
	}
	r.env.Logger.Info("forked", "daemon", parent.Origin(), "after", p.header.Through, "forks", req.Count)
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

// forkPoint is what a daemon was at one moment, for forks to begin with.
type forkPoint struct {
	key      *identity.KeyPair // the parent's
	own      daemon.Limits     // of its own
	header   snapshot.Header   // of the parent; a fork's differs in who it is
	previous []byte            // the parent's module before its last upgrade; nil: there was none
	state    []byte            // as header.Form says
	shared   *sandbox.Shared   // of FormMemory: the same, for all forks together
	root     []byte            // hash of the state; empty: there is none

	view *sandbox.Frozen // until it is finished
	of   forker

	record chain.ForkRecord // of the fork that was made of it
}

// forker is a Daemon whose memory forks can have together.
type forker interface {
	moving.Memory
	Adopt(*sandbox.Shared) error
}

// pointOf takes what the daemon is. It holds up the daemon only for that; finish
// does the rest. It needs d.mu.
func pointOf(d *engine.Daemon) (*forkPoint, error) {
	if err := d.Image().Portable(); err != nil {
		return nil, err
	}
	if !d.Position().Key.CanSign() {
		return nil, fmt.Errorf("%w: a fork needs the word of the daemon that it comes of", identity.ErrReadOnly)
	}
	s, err := d.Image().Header(d.Image().Form())
	if err != nil {
		return nil, err
	}
	p := &forkPoint{own: d.OwnLimits(), header: s.Header, previous: bytes.Clone(d.Position().Previous)}
	switch s.Header.Form {
	case snapshot.FormMemory:
		of, ok := d.Position().Code.(forker)
		if !ok {
			return nil, daemon.ErrNotPortable
		}
		p.of = of
		p.view, err = of.Freeze(nil)
	case snapshot.FormGiven:
		p.state, err = d.Position().Code.Snapshot(d.Image().StateCall())
	}
	if err != nil {
		return nil, err
	}
	p.key = d.Position().Key.Clone()
	return p, nil
}

// forkPoint finds the moment that the request names.
func (r *Runtime) forkPoint(ctx context.Context, d *engine.Daemon, req *ForkRequest) (*forkPoint, error) {
	if d.Kind() == "" {
		return nil, fmt.Errorf("%w: the daemon is of no kind that another could be made of", daemon.ErrNotPortable)
	}
	if !d.Moves().BeginMove() { // its memory has one watcher at a time
		return nil, fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, d.Entity().Origin())
	}
	defer d.Moves().EndMove()
	if req.LastGood {
		return r.lastGoodPoint(ctx, d)
	}
	if err := d.Look(ctx); err != nil {
		if req.At == nil || ctx.Err() != nil || !d.CannotGoOn() {
			return nil, err
		}
		return r.pastPoint(ctx, d, *req.At)
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
		return r.pastPoint(ctx, d, *req.At)
	}
	p, err := pointOf(d)
	d.Unlock()
	if err != nil {
		return nil, err
	}
	if err = last.Wait(ctx); err == nil {
		err = p.finish(d.Limits().StateBytes)
	}
	if p.of != nil {
		p.of.Thaw()
	}
	return p, err
}
