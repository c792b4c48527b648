package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// weather moves daemons and kills nodes until it is told to stop.
type weather struct {
	r     *round
	rng   *rand.Rand
	kills bool
	safe  []*fleet.Node // that are not killed
	stop  chan struct{}
	ended chan error
}

// storm begins: daemons move and, with kills, nodes but for the safe ones die and come back.
func (r *round) storm(ctx context.Context, kills bool, safe ...*fleet.Node) *weather {
	w := &weather{r: r, rng: r.chance(), kills: kills, safe: safe, stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { w.ended <- w.blow(ctx) }()
	return w
}

// calm ends it: all nodes run again.
func (w *weather) calm() error {
	close(w.stop)
	return <-w.ended
}

func (w *weather) blow(ctx context.Context) error {
	const least = 4 // things that happen
	for done := 1; ctx.Err() == nil; done++ {
		if w.kills && w.rng.IntN(3) == 0 {
			if err := w.kill(ctx); err != nil {
				return err
			}
		} else {
			w.move(ctx)
		}
		pause := time.NewTimer(time.Duration(10+w.rng.IntN(90)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-w.stop:
			if pause.Stop(); done >= least {
				return nil
			}
		}
	}
	return context.Cause(ctx)
}

// move moves some daemon somewhere else. What fails, because something else happens to the
// daemon or a node is away, must have a name.
func (w *weather) move(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := w.r.any(w.rng).Client.Daemons().List(ctx, true)
	if err != nil || len(list) == 0 {
		return
	}
	d, to := list[w.rng.IntN(len(list))], w.r.any(w.rng)
	if self, err := to.Client.Node().Get(ctx); err != nil || self.NodeID == d.NodeID {
		return
	}
	w.r.moved(ctx, w.r.any(w.rng), d.EntityID, to)
}

// moved moves a daemon and reports whether it did.
func (r *round) moved(ctx context.Context, from *fleet.Node, daemon string, to *fleet.Node) bool {
	_, err := from.Client.Migrate(ctx, daemon, api.Migrate{To: to.Name}, func(api.MigrationStep) {})
	switch name := code(err); {
	case err == nil:
		r.add(&r.totals.moves, 1)
	case name == "internal":
		r.problem("moving daemon %s from %s to %s: want an error with a name, got %v", daemon, from.Name, to.Name, err)
	case name != "":
		r.refused("move:" + name)
	}
	return err == nil
}

// kill ends a node and starts it again, now or after the others have noticed.
func (w *weather) kill(ctx context.Context) error {
	n := w.r.any(w.rng)
	if slices.Contains(w.safe, n) {
		return nil
	}
	away := time.Duration(w.rng.IntN(300)) * time.Millisecond
	if w.r.clustered && w.rng.IntN(2) == 0 {
		away = 3*lease + time.Duration(w.rng.Int64N(int64(lease)))
	}
	return w.r.killed(ctx, n, away)
}

// killed ends a node as a crash does, and starts it after that time. In a cluster its
// daemons have their standbys again then: another one may die.
func (r *round) killed(ctx context.Context, n *fleet.Node, away time.Duration) error {
	r.add(&r.totals.kills, 1)
	if err := n.Kill(); err != nil {
		return err
	}
	fleet.Pause(ctx, away)
	if err := n.Start(ctx); err != nil {
		return err
	}
	return until(ctx, patience, "node "+n.Name+" is ready again", func(ctx context.Context) error {
		if err := n.Client.Ready(ctx); err != nil {
			return err
		}
		return r.kept(ctx)
	})
}
