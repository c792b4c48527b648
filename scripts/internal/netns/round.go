package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/migration"
	"wasmhost.example/scripts/internal/fleet"
	"wasmhost.example/scripts/internal/spaces"
)

// Bounds on what a round waits for.
const (
	moveWithin   = 90 * time.Second // for the move to end, on a link that is bad and not cut
	settleWithin = 90 * time.Second // for the nodes to agree
	giveUpAfter  = 5 * time.Second  // the deadline of a move whose link is cut for ever
)

// move is a migration under way, as who asked for it sees it.
type move struct {
	mu     sync.Mutex
	phase  migration.Phase
	moved  chan struct{} // closed, and another made, when there is another phase
	ended  chan struct{}
	report *api.MigrationReport
	err    error
}

// round moves the daemon once.
func (t *trial) round(ctx context.Context, c kase) error {
	owner, err := t.settled(ctx)
	if err != nil {
		return fmt.Errorf("before round %d: %w", t.rounds+1, err)
	}
	r := &round{trial: t, source: owner, target: (owner + 1 + t.rng.IntN(len(t.nodes)-1)) % len(t.nodes), what: c.name}
	r.now = c.weather(r)
	t.net.SetAll(r.now)
	for _, s := range t.senders {
		s.Stall()
	}
	broken := t.broken()
	began := time.Now()
	req := api.Migrate{To: t.nodes[r.target].Name, Rate: c.rate}
	if c.name == "cutoff" {
		req.DeadlineMS = giveUpAfter.Milliseconds()
	}
	asking, detach := context.WithTimeout(ctx, moveWithin)
	defer detach()
	r.move = t.begin(asking, t.nodes[owner], req)
	if c.during != nil {
		err = c.during(ctx, r)
	}
	if r.forever && err == nil {
		if err = r.settleCut(ctx); err != nil {
			err = fmt.Errorf("while the link is cut: %w", err)
		}
		detach() // it would try for ever
	}
	<-r.move.ended
	t.net.SetAll(spaces.Weather{})
	if err == nil {
		_, err = t.settled(ctx)
	}
	if err == nil {
		err = r.outcome(ctx, broken, c.name == "kill")
	}
	for _, s := range t.senders {
		t.stalls[c.name] = max(t.stalls[c.name], s.Stall())
	}
	t.ran[c.name]++
	if t.verbose || err != nil {
		how := "moved"
		if r.move.err != nil {
			how = r.move.err.Error()
		}
		fmt.Printf("round %d: %s, %s to %s, %+v: %s, in %.1f s\n", t.rounds+1, r.what, t.nodes[r.source].Name, t.nodes[r.target].Name, r.now, how, time.Since(began).Seconds())
	}
	if err != nil {
		return fmt.Errorf("round %d, %s: %w", t.rounds+1, r.what, err)
	}
	return nil
}

func (t *trial) begin(ctx context.Context, at *fleet.Node, req api.Migrate) *move {
	m := &move{phase: migration.Snapshot - 1, moved: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		m.report, m.err = at.Client.Migrate(ctx, daemon, req, func(s api.MigrationStep) {
			if s.Phase == "" {
				return
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			for p := migration.Snapshot; p <= migration.Complete; p++ {
				if p.String() == s.Phase {
					m.phase = p
				}
			}
			close(m.moved)
			m.moved = make(chan struct{})
		})
	}()
	return m
}

// reach waits until the migration is in the phase or beyond, or over.
func (m *move) reach(ctx context.Context, p migration.Phase) {
	for {
		m.mu.Lock()
		at, moved := m.phase, m.moved
		m.mu.Unlock()
		if at >= p {
			return
		}
		select {
		case <-moved:
		case <-m.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// outcome looks at what became of the move, now that the nodes agree: both have
// signed a receipt of it, and of those before. A source that was killed may have
// died before it brought its own.
func (r *round) outcome(ctx context.Context, broken int, killed bool) error {
	if r.move.report != nil {
		r.moves++
		if r.broken() > broken {
			r.resumed++
		}
	} else {
		r.givenUp++
	}
	until := time.Now().Add(settleWithin)
	if killed {
		until = time.Now().Add(2 * time.Second)
	}
	for {
		whole, half, err := r.verifyReceipts(ctx)
		switch late := time.Now().After(until); {
		case err == nil && (len(half) == 0 || late && killed):
			r.receipts = whole
			for _, epoch := range half {
				r.halves[epoch] = true
			}
			return nil
		case ctx.Err() != nil || late && err != nil:
			return errors.Join(err, ctx.Err())
		case late:
			return fmt.Errorf("the receipts of the moves to epochs %v are signed by one node only", half)
		}
		fleet.Pause(ctx, 50*time.Millisecond)
	}
}

// verifyReceipts verifies those that the daemon's node has, and returns how many
// are whole and the epochs of those that are not, but for those that may.
func (r *round) verifyReceipts(ctx context.Context) (whole int, half []uint64, err error) {
	owner, err := r.owner(ctx)
	if err != nil {
		return 0, nil, err
	}
	client := r.nodes[owner].Client
	all, err := client.Daemons().Receipts(ctx, daemon)
	if err != nil {
		return 0, nil, err
	}
	mine := r.move.report == nil
	for _, v := range all {
		b, err := client.Daemons().Receipt(ctx, daemon, v.Epoch)
		if err != nil {
			return 0, nil, err
		}
		rec, err := chain.DecodeReceipt(b)
		if err != nil {
			return 0, nil, fmt.Errorf("the receipt of the move to epoch %d: %w", v.Epoch, err)
		}
		mine = mine || v.Epoch == r.move.report.Epoch
		if !rec.Whole() {
			if !r.halves[v.Epoch] {
				half = append(half, v.Epoch)
			}
			continue
		}
		if err := rec.Verify(); err != nil {
			return 0, nil, fmt.Errorf("the receipt of the move to epoch %d: %w", v.Epoch, err)
		}
		whole++
	}
	if !mine {
		return 0, nil, fmt.Errorf("there is no receipt of the move to epoch %d", r.move.report.Epoch)
	}
	return whole, half, nil
}

// settled waits until one node answers for the daemon and no migration goes on at
// its source or waits.
func (t *trial) settled(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		owner, err := t.owner(ctx)
		if err == nil {
			err = t.quiet(ctx)
		}
		if err == nil {
			return owner, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("the nodes do not come to rest: %w", err)
		}
		fleet.Pause(ctx, 50*time.Millisecond)
	}
}

func (t *trial) quiet(ctx context.Context) error {
	for _, n := range t.nodes {
		list, err := n.Client.Migrations().List(ctx, false)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Role == "target" && m.State == "running" {
				continue // it keeps what came, should the source go on with it
			}
			return fmt.Errorf("node %s is %s of a migration to epoch %d that is %s in %s: %s", n.Name, m.Role, m.Epoch, m.State, m.Phase, m.Reason)
		}
	}
	return nil
}

// errOwners says that not exactly one node serves the daemon.
var errOwners = errors.New("not one node serves the daemon")

// owner is the one node that serves the daemon. More than one is a broken
// promise, whenever it is seen.
func (t *trial) owner(ctx context.Context) (int, error) {
	var serving []int
	var said []string
	for i, n := range t.nodes {
		list, err := n.Client.Daemons().List(ctx, false)
		if err != nil {
			return 0, err
		}
		for _, d := range list {
			if d.Name != daemon {
				continue
			}
			said = append(said, fmt.Sprintf("on %s it is %s, epoch %d", n.Name, d.State, d.Epoch))
			if d.State == "running" || d.State == "passive" {
				serving = append(serving, i)
			}
		}
	}
	if len(serving) != 1 {
		return 0, fmt.Errorf("%w: %s", errOwners, strings.Join(said, "; "))
	}
	return serving[0], nil
}

// broken counts the transfers that lost their connection.
func (t *trial) broken() int {
	n := 0
	for _, node := range t.nodes {
		b, err := os.ReadFile(node.Log())
		if err != nil {
			t.Problem("reading a log: %v", err)
		}
		n += strings.Count(string(b), "the connection of a migration broke; it is resumed")
	}
	return n
}
