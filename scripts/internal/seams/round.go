package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// round has nodes of its own, on which one thing changes while others happen.
type round struct {
	number    int
	dir, bin  string
	seed      uint64
	rng       *rand.Rand // of the round's own goroutine alone
	clustered bool
	nodes     []*fleet.Node
	did       []string // what was drawn
	*totals
	book *book

	mu       sync.Mutex
	problems []string
}

const lease = 500 * time.Millisecond

// run does the round, and returns what is wrong.
func (r *round) run(ctx context.Context, s seam) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTime, fmt.Errorf("the round did not end in %s", roundTime))
	defer cancel()
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	r.clustered = r.rng.IntN(2) == 0
	err = s.run(ctx, r)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	for _, n := range r.nodes {
		err = errors.Join(err, n.Kill())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	const shown = 6
	for i, p := range r.problems {
		if i == shown {
			p = fmt.Sprintf("and %d more", len(r.problems)-shown)
		}
		if err = errors.Join(err, errors.New(p)); i == shown {
			break
		}
	}
	return err
}

// problem notes that something is wrong: what was expected, and what was seen.
func (r *round) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// does notes what was drawn, for the round's story.
func (r *round) does(format string, args ...any) { r.did = append(r.did, fmt.Sprintf(format, args...)) }

func (r *round) story(s seam) string {
	where := "peers"
	if r.clustered {
		where = "a cluster"
	}
	return fmt.Sprintf("%s on %d nodes, %s: %s", s.name, len(r.nodes), where, strings.Join(r.did, ", "))
}

// choice draws one of them.
func choice[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// chance returns a source of chance for a goroutine of its own.
func (r *round) chance() *rand.Rand { return rand.New(rand.NewPCG(r.rng.Uint64(), 1)) }

// any draws a node.
func (r *round) any(rng *rand.Rand) *fleet.Node { return r.nodes[rng.IntN(len(r.nodes))] }

// start has that many nodes run, which know each other.
func (r *round) start(ctx context.Context, count int) error {
	if err := r.place(count); err != nil {
		return err
	}
	if !r.clustered {
		return fleet.JoinAll(ctx, r.nodes)
	}
	for i, n := range r.nodes {
		n.Args = []string{"--cluster", "--lease", lease.String()}
		if i > 0 {
			token, err := r.nodes[0].Client.Node().JoinToken(ctx, time.Minute, "all,join")
			if err != nil {
				return err
			}
			n.Join = token.Token
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		n.Join = ""
	}
	return fleet.Voting(ctx, r.nodes[0], min(count, 3))
}

// place makes nodes that do not run yet.
func (r *round) place(count int) error {
	for i := range count {
		addr, err := fleet.FreeAddr()
		if err != nil {
			return err
		}
		r.nodes = append(r.nodes, fleet.NewNode(r.dir, string(rune('a'+i)), addr, r.bin))
	}
	return nil
}

// spawn makes a daemon on the node, with standbys in a cluster, whose directory may need
// some tries.
func (r *round) spawn(ctx context.Context, n *fleet.Node, req api.Spawn) (d api.Daemon, err error) {
	req.Kind, req.Standbys = kind, r.standbys()
	tried := 0
	err = until(ctx, patience, "daemon "+req.Name+" is made", func(ctx context.Context) (err error) {
		d, err = n.Client.Spawn(ctx, req)
		if tried++; tried > 1 && (code(err) == "name-taken" || code(err) == "already-present") { // the attempt before did it
			d, err = n.Client.Daemons().Get(ctx, req.Name)
		}
		return err
	})
	return d, err
}

// standbys is how many a daemon of the round has.
func (r *round) standbys() int {
	if r.clustered {
		return 1
	}
	return 0
}

// until asks over and over whether it is so, for that long at most. The error says what
// was not so.
func until(ctx context.Context, most time.Duration, what string, so func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var last error
	for {
		err := so(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("not within %s: %s: %w", most, what, last)
		}
		fleet.Pause(ctx, 25*time.Millisecond)
	}
}

const patience = 45 * time.Second

// settled waits until every node is ready and each of the daemons runs, as every node says.
func (r *round) settled(ctx context.Context, daemons ...string) error {
	return until(ctx, patience, "the nodes come to rest", func(ctx context.Context) error {
		for _, n := range r.nodes {
			if err := n.Client.Ready(ctx); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			for _, d := range daemons {
				i, err := n.Client.Daemons().Get(ctx, d)
				if err == nil && i.State != "running" && i.State != "passive" {
					err = fmt.Errorf("it is %s: %s", i.State, i.Reason)
				}
				if err != nil {
					return fmt.Errorf("daemon %s, asked at node %s: %w", d, n.Name, err)
				}
			}
		}
		return r.kept(ctx)
	})
}

// kept is nil where every daemon of a cluster has the standbys that it is to have.
func (r *round) kept(ctx context.Context) error {
	if !r.clustered {
		return nil
	}
	s, err := r.nodes[0].Client.Cluster().Status(ctx)
	if err == nil && (s.Holding || s.Wanting > 0 || s.Orphaned > 0) {
		err = fmt.Errorf("of %d daemons %d want standbys, %d are lost; holding: %v", s.Daemons, s.Wanting, s.Orphaned, s.Holding)
	}
	return err
}

// home is the node that has the daemon.
func (r *round) home(ctx context.Context, daemon string) (at *fleet.Node, err error) {
	err = until(ctx, patience, "a node has daemon "+daemon, func(ctx context.Context) error {
		for _, n := range r.nodes {
			list, err := n.Client.Daemons().List(ctx, false)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(d api.Daemon) bool { return d.Name == daemon || d.EntityID == daemon }) {
				at = n
				return nil
			}
		}
		return errors.New("none")
	})
	return at, err
}

// code is the name of an error of a node; empty for one that no node has given.
func code(err error) string {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// contains reports whether the error says the text.
func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
