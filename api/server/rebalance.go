package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// rested is after how many intervals a daemon that came may leave again.
const rested = 3

// balance is what a node remembers in order to even itself out.
type balance struct {
	mu    sync.Mutex
	first map[identity.EntityID]time.Time // when a daemon was first seen here
}

// seen notes which daemons are here, and returns those that could move, with how long
// each has been.
func (b *balance) seen(now time.Time, all []daemon.Info, self identity.NodeID) (out []placement.Daemon) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := make(map[identity.EntityID]time.Time, len(all))
	for _, i := range all {
		if i.Node != self || i.Kind == "" || i.State != "running" && i.State != "passive" {
			continue
		}
		since, ok := b.first[i.Entity]
		if !ok {
			since = now
		}
		first[i.Entity] = since
		out = append(out, placement.Daemon{Entity: i.Entity, Name: i.Name, Kind: i.Kind, Memory: i.MemoryBytes, Here: now.Sub(since)})
	}
	b.first = first
	return out
}

// KeepBalanced moves a daemon now and then to a node that has clearly less, until ctx
// ends. A daemon that came stays for three intervals.
func (s *Server) KeepBalanced(ctx context.Context, every time.Duration) {
	for {
		// Nodes that looked at the same moment would all choose the same one.
		timer := time.NewTimer(every - every/4 + rand.N(every/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		m, err := s.nextMove(ctx, placement.Balance{Rest: rested * every})
		if err != nil || m == nil {
			if err != nil && ctx.Err() == nil && !errors.Is(err, problem.ErrUneven) {
				s.logger.Warn("looking whether a daemon should move to even nodes out", "error", err)
			}
			continue
		}
		if out, err := s.even(ctx, m); err == nil {
			s.logger.Info("a daemon moved, to even nodes out", "daemon", m.Daemon.Name, "to", m.To.ID, "why", m.Reason, "epoch", out.Epoch)
		} else if ctx.Err() == nil {
			s.logger.Warn("moving a daemon, to even nodes out", "daemon", m.Daemon.Name, "to", m.To.ID, "error", err)
		}
	}
}

// nextMove returns the move that evens out most; nil where the nodes are even enough.
func (s *Server) nextMove(ctx context.Context, b placement.Balance) (*placement.Move, error) {
	daemons := s.balance.seen(time.Now(), s.rt.Daemons().List(), s.mesh.Self())
	if s.rt.Node().Draining() {
		return nil, problem.ErrUneven
	}
	if err := errors.Join(s.rt.Ready(), s.rt.Node().Holding()); err != nil {
		return nil, err
	}
	nodes, err := s.nodes.Candidates(ctx, "", true)
	if err != nil {
		return nil, err
	}
	self, others := s.split(nodes)
	alike := make(map[string][]placement.Node)
	for _, m := range b.Moves(self, others, daemons) {
		if alike[m.Daemon.Kind] == nil {
			if alike[m.Daemon.Kind], err = s.nodes.Candidates(ctx, m.Daemon.Kind, true); err != nil {
				return nil, err
			}
		}
		from, others := s.split(alike[m.Daemon.Kind])
		for _, to := range others {
			if to.ID == m.To.ID && to.Refuses == "" && placement.Apart(from, to) {
				return &m, nil
			}
		}
	}
	return nil, nil
}

func (s *Server) split(nodes []placement.Node) (self placement.Node, others []placement.Node) {
	for _, n := range nodes {
		if n.ID == s.mesh.Self() {
			self = n
		} else {
			others = append(others, n)
		}
	}
	return self, others
}

// even makes the move.
func (s *Server) even(ctx context.Context, m *placement.Move) (api.Rebalanced, error) {
	out := convert.RebalancedOf(m)
	moving, err := s.rt.StartMigrationWith(ctx, m.Daemon.Entity, m.To.ID, host.MigrationOptions{RetryNotReady: host.NoRetry})
	if err != nil {
		return out, err
	}
	rep, err := moving.Wait(ctx)
	if err != nil {
		return out, err
	}
	out.Epoch, out.DowntimeMS = rep.Epoch, convert.Milliseconds(rep.Downtime)
	return out, nil
}

// postRebalance evens this node out by one daemon, however short a time that is here.
func (s *Server) postRebalance(w http.ResponseWriter, r *http.Request) error {
	var req api.Rebalance
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	m, err := s.nextMove(r.Context(), placement.Balance{})
	switch {
	case err != nil:
		return err
	case m == nil:
		return web.WriteJSON(w, api.Rebalanced{Reason: "the nodes are even enough"})
	case req.DryRun:
		return web.WriteJSON(w, convert.RebalancedOf(m))
	}
	out, err := s.even(r.Context(), m)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, out)
}
