package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/api"
	"wasmhost.example/host/chain"
)

// forks makes daemons of a daemon's past while it is sent to, moves, and nodes die. Each
// begins as its parent was, is proven by the parent's chain, and goes its own way.
func forks(ctx context.Context, r *round) error {
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	if _, err := r.rich(ctx, "rich"); err != nil {
		return err
	}
	crew := r.senders(ctx, "rich", numbered, alone)
	defer crew.done()
	if err := crew.more(ctx, 20); err != nil {
		return err
	}
	was, err := inspect(ctx, r.nodes[1], "rich")
	if err != nil {
		return err
	}
	w := r.storm(ctx, r.rng.IntN(2) == 0)
	made, at, err := r.fork(ctx)
	if err == nil {
		err = crew.more(ctx, 10)
	}
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	crew.done()
	names := []string{"rich"}
	for _, f := range made {
		names = append(names, f.Name)
	}
	if err := r.settled(ctx, names...); err != nil {
		return err
	}
	if err := r.same(ctx, "rich", "forks of it", was); err != nil {
		return err
	}
	for _, f := range made {
		if err := r.checkFork(ctx, f.Name, at, was); err != nil {
			return err
		}
	}
	return r.finish(ctx, "rich")
}

// fork forks the daemon at one of its outputs from after its upgrade.
func (r *round) fork(ctx context.Context) (made []api.Daemon, at uint64, err error) {
	const upgraded = 3 // outputs before the upgrade
	i, err := r.nodes[0].Client.Daemons().Get(ctx, "rich")
	if err != nil {
		err = until(ctx, patience, "rich is looked at", func(ctx context.Context) (err error) {
			i, err = r.any(r.rng).Client.Daemons().Get(ctx, "rich")
			return err
		})
	}
	if err != nil {
		return nil, 0, err
	}
	at = upgraded + 1 + r.rng.Uint64N(max(i.Sequence, upgraded+1)-upgraded)
	count := 1 + r.rng.IntN(3)
	r.does("%d at %d", count, at)
	for try := 0; ; try++ {
		name := fmt.Sprintf("fork%d", try)
		made, err = r.any(r.rng).Client.Daemons().Fork(ctx, "rich", api.Fork{At: &at, Count: count, Name: name})
		switch {
		case err == nil:
			return made, at, nil
		case ctx.Err() != nil || try == 200:
			return nil, 0, fmt.Errorf("forking rich at %d: %w", at, err)
		case !isPassing(err) && code(err) != "daemon-not-found":
			r.problem("forking rich at output %d of %d: want forks, got %v", at, i.Sequence, err)
			return nil, at, nil
		}
		if err := r.settled(ctx, "rich"); err != nil {
			return nil, 0, err
		}
	}
}

// checkFork looks at one fork: what inspect says, that it answers as its parent did after
// that output, that it goes back to the version before, and its proof.
func (r *round) checkFork(ctx context.Context, name string, at uint64, parent inspection) error {
	own := []string{"name", "origin", "entity_id", "fork", "spawned", "subscriptions", "effects"} // it is granted nothing
	now, err := inspect(ctx, r.nodes[0], name)
	if err != nil {
		return err
	}
	if d := parent.differs(now, own...); d != "" {
		r.problem("fork %s: want all as its parent, but %s", name, d)
	}
	e := r.book.enter(name, name+"/1", name+" goes on")
	if err := r.settle(ctx, r.rng, e); err != nil || len(e.answers) == 0 {
		r.problem("event %q to fork %s: want it applied, got %v", e.text, name, err)
		return nil
	}
	if h, err := parseHeard(e.answers[0]); err != nil || h.count != int(at)+1 || h.version != 2 {
		r.problem("fork %s at output %d: want event %d of version 2, got %+v, %v", name, at, at+1, h, err)
	}
	if err := r.back(ctx, name, 1); err != nil {
		return err
	}
	return r.prove(ctx, name)
}

// prove verifies the fork's chain against its parent's.
func (r *round) prove(ctx context.Context, name string) error {
	fork, err := r.export(ctx, name)
	if err != nil {
		return err
	}
	parent, err := r.export(ctx, "rich")
	if err != nil {
		return err
	}
	if _, _, err := chain.VerifyFork(bytes.NewReader(fork), bytes.NewReader(parent)); err != nil {
		r.problem("fork %s against its parent's chain: %v", name, err)
	}
	return nil
}

func (r *round) export(ctx context.Context, daemon string) ([]byte, error) {
	body, err := r.any(r.rng).Client.Daemons().Chain(ctx, daemon)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}
