package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// upgrades has a daemon go to other versions and back, asked at nodes whose latest version
// differs, while it is sent to, moves, and nodes die.
func upgrades(ctx context.Context, r *round) error {
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	a, b, c := r.nodes[0], r.nodes[1], r.nodes[2]
	if _, err := push(ctx, b, 1); err != nil {
		return err
	}
	if _, err := r.spawn(ctx, b, api.Spawn{Name: "d"}); err != nil {
		return err
	}
	if _, err := push(ctx, c, 1); err != nil { // what latest means at node c stays
		return err
	}
	digest, err := push(ctx, a, 2)
	if err != nil {
		return err
	}
	crew := r.senders(ctx, "d", numbered, alone)
	defer crew.done()
	if err := crew.more(ctx, 10); err != nil {
		return err
	}
	was, err := inspect(ctx, b, "d")
	if err != nil {
		return err
	}
	w := r.storm(ctx, r.rng.IntN(2) == 0)
	err = r.changes(ctx, crew, a, c, digest)
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	crew.done()
	if err := r.settled(ctx, "d"); err != nil {
		return err
	}
	if err := r.same(ctx, "d", "upgrades and rollbacks", was, "module", "previous", "rollback", "errors"); err != nil {
		return err
	}
	return r.finish(ctx, "d")
}

// changes upgrades the daemon to node a's latest version, which no other node has, back,
// and to it again by its digest, asked at another node.
func (r *round) changes(ctx context.Context, crew *crew, a, c *fleet.Node, digest string) error {
	steps := []func() error{
		func() error { return r.goTo(ctx, a, "latest", 2) },
		func() error { return r.back(ctx, "d", 1) },
		func() error { return r.goTo(ctx, a, digest, 2) },
		func() error { return r.back(ctx, "d", 1) },
		func() error { return r.goTo(ctx, c, digest, 2) },
	}
	if r.rng.IntN(2) == 0 {
		steps = append(steps, func() error { return r.goTo(ctx, c, "latest", 1) }, func() error { return r.back(ctx, "d", 2) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if err := crew.more(ctx, 5); err != nil {
			return err
		}
	}
	return nil
}

// goTo has the daemon go over to what the reference means at the node that is asked: it
// has that version then.
func (r *round) goTo(ctx context.Context, n *fleet.Node, ref string, version int) error {
	said := ref
	if len(said) > 12 {
		said = said[:12]
	}
	r.does("to %s at %s", said, n.Name)
	what := fmt.Sprintf("daemon d is upgraded to %s, asked at node %s", said, n.Name)
	tried := 0
	err := until(ctx, patience, what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := n.Client.Daemons().Upgrade(ctx, "d", api.Upgrade{To: ref})
		if tried++; tried > 1 && contains(err, "runs that module already") { // the attempt before did it
			return nil
		}
		if err != nil && (isPassing(err) || onItsWay(err)) {
			return err
		}
		if err != nil {
			r.problem("%s: want version %d, got %v", what, version, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	now, err := r.version(ctx, "d")
	if err == nil && now != version {
		r.problem("%s: want version %d, got %d", what, version, now)
	}
	return err
}

// onItsWay reports whether an upgrade was refused because the daemon moves or is sought.
func onItsWay(err error) bool {
	return code(err) == "cannot-upgrade" && contains(err, "on its way") || code(err) == "daemon-not-found"
}
