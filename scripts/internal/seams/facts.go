package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// facts has a daemon with all that one can have: a version before, limits of its own,
// grants, a subscription, timers. All of it goes with the daemon.
func facts(ctx context.Context, r *round) error {
	way := choice(r.rng, "moves", "moves", "deaths", "restore")
	r.does("by %s", way)
	if way == "restore" { // peers believe for a minute that the daemon is where it was
		r.clustered = true
	}
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	seed, err := r.rich(ctx, "rich")
	if err != nil {
		return err
	}
	c := r.senders(ctx, "rich", numbered)
	defer c.done()
	if err := c.more(ctx, 5); err != nil {
		return err
	}
	was, err := inspect(ctx, r.nodes[0], "rich")
	if err != nil {
		return err
	}
	switch way {
	case "moves":
		err = r.tour(ctx, "rich", was)
	case "deaths":
		err = r.die(ctx, "rich", was)
	case "restore":
		c.done()
		err = r.restore(ctx, "rich", seed)
	}
	if err != nil {
		return err
	}
	if err := r.back(ctx, "rich", 1); err != nil {
		return err
	}
	c.done()
	return r.finish(ctx, "rich")
}

// rich makes such a daemon on the second node: version 2, before it 1.
func (r *round) rich(ctx context.Context, name string) (seed []byte, err error) {
	at := r.nodes[1]
	if _, err := push(ctx, at, 1); err != nil {
		return nil, err
	}
	if _, err := r.nodes[0].Client.Channels().Create(ctx, api.CreateChannel{Name: "news"}); err != nil {
		return nil, err
	}
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	if seed, err = key.Seed(); err != nil {
		return nil, err
	}
	_, err = r.spawn(ctx, at, api.Spawn{
		Name: name, Identity: seed, Limits: map[string]int64{"mailbox": 512, "snapshot-events": 7},
		Subscribe:  []api.Subscribe{{Publisher: "a", Channel: "news"}},
		MayPublish: []api.MayPublish{{Node: "a", Pattern: "said/*"}}, MaySend: []string{"*"},
	})
	if err != nil {
		return nil, err
	}
	for i := range 3 {
		e := r.book.enter(name, fmt.Sprintf("timers/%d", i+1), fmt.Sprintf("timer %d later-%d", time.Duration(i+1)*time.Hour/time.Millisecond, i))
		if err := r.settle(ctx, r.rng, e); err != nil {
			return nil, err
		}
	}
	digest, err := push(ctx, at, 2)
	if err != nil {
		return nil, err
	}
	_, err = at.Client.Daemons().Upgrade(ctx, name, api.Upgrade{To: digest})
	return seed, err
}

// tour moves the daemon there and back, and compares after each move.
func (r *round) tour(ctx context.Context, name string, was inspection) error {
	for range 2 + r.rng.IntN(3) {
		from, err := r.home(ctx, name)
		if err != nil {
			return err
		}
		to := r.any(r.rng)
		for to == from {
			to = r.any(r.rng)
		}
		if !r.moved(ctx, from, name, to) {
			continue
		}
		if err := r.settled(ctx, name); err != nil {
			return err
		}
		if err := r.same(ctx, name, fmt.Sprintf("a move from %s to %s", from.Name, to.Name), was); err != nil {
			return err
		}
	}
	return nil
}

// die kills the node that the daemon is on: a standby goes on, or it comes back there.
func (r *round) die(ctx context.Context, name string, was inspection) error {
	for range 2 {
		at, err := r.home(ctx, name)
		if err != nil {
			return err
		}
		if err := r.killed(ctx, at, time.Duration(r.rng.IntN(4))*lease); err != nil {
			return err
		}
		if err := r.settled(ctx, name); err != nil {
			return err
		}
		if err := r.same(ctx, name, "the death of node "+at.Name, was); err != nil {
			return err
		}
	}
	return nil
}

// restore saves the daemon, removes it, and restores it on another node.
func (r *round) restore(ctx context.Context, name string, seed []byte) error {
	at, err := r.home(ctx, name)
	if err != nil {
		return err
	}
	body, err := at.Client.Daemons().Snapshot(ctx, name)
	if err != nil {
		return err
	}
	saved, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	was, err := inspect(ctx, at, name)
	if err != nil {
		return err
	}
	i, err := at.Client.Daemons().Remove(ctx, name)
	if err != nil {
		return err
	}
	r.book.renew(i.EntityID)
	to := r.nodes[2]
	if _, err := push(ctx, to, 1); err != nil {
		return err
	}
	if _, err := push(ctx, to, 2); err != nil {
		return err
	}
	if _, err := to.Client.Daemons().Restore(ctx, bytes.NewReader(saved), kind, name, seed); err != nil {
		return err
	}
	return r.same(ctx, name, "a restore on node "+to.Name, was)
}

// back rolls the daemon back, asked at any node: it has that version then.
func (r *round) back(ctx context.Context, name string, version int) error {
	before, err := r.version(ctx, name)
	if err != nil {
		return err
	}
	n := r.any(r.rng)
	err = until(ctx, patience, fmt.Sprintf("daemon %s is rolled back to version %d, asked at node %s", name, version, n.Name), func(ctx context.Context) error {
		_, err := n.Client.Daemons().Upgrade(ctx, name, api.Upgrade{Rollback: true})
		if err != nil && (isPassing(err) || onItsWay(err)) { // it may have been done
			now, look := r.version(ctx, name)
			if look == nil && now != before {
				return nil
			}
			return errors.Join(err, look)
		}
		if err != nil {
			r.problem("daemon %s, of version %d: want it rolled back to %d, got %v", name, before, version, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	now, err := r.version(ctx, name)
	if err == nil && now != version {
		r.problem("daemon %s after a rollback from version %d: want version %d, got %d", name, before, version, now)
	}
	return err
}

// version is of the code that the daemon answers with.
func (r *round) version(ctx context.Context, name string) (int, error) {
	text := fmt.Sprintf("version-%d", r.rng.Uint64())
	e := r.book.enter(name, text, text)
	if err := r.settle(ctx, r.rng, e); err != nil {
		return 0, err
	}
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	if len(e.answers) == 0 {
		return 0, fmt.Errorf("daemon %s does not say its version", name)
	}
	h, err := parseHeard(e.answers[0])
	return h.version, err
}

// finish repeats every id, and judges by the daemons' chains.
func (r *round) finish(ctx context.Context, daemons ...string) error {
	if err := r.settled(ctx, daemons...); err != nil {
		return err
	}
	r.repeatAll(ctx)
	var ids []string
	for _, d := range daemons {
		i, err := r.nodes[0].Client.Daemons().Get(ctx, d)
		if err != nil {
			return err
		}
		ids = append(ids, i.EntityID)
	}
	return r.judge(ctx, r.nodes[0], ids...)
}
