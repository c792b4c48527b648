package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// postPlace picks a node for a daemon that is here.
func (s *Server) postPlace(w http.ResponseWriter, r *http.Request) error {
	var p api.Place
	if err := web.ReadJSON(w, r, &p); err != nil {
		return err
	}
	req, err := convert.RequirementsOf(p)
	if err != nil {
		return err
	}
	d, err := s.rt.Daemons().Inspect(web.Entity(r))
	if err != nil {
		return err
	}
	req.Memory = d.MemoryBytes
	nodes, err := s.nodes.Candidates(r.Context(), d.Kind, false)
	if err != nil {
		return err
	}
	return writePlaced(w, nodes, req)
}

// postPlaceKind says where a daemon of a kind would be made, and makes none.
func (s *Server) postPlaceKind(w http.ResponseWriter, r *http.Request) error {
	var p api.PlaceKind
	if err := web.ReadJSON(w, r, &p); err != nil {
		return err
	}
	req, err := convert.RequirementsOf(p.Place)
	if err != nil {
		return err
	}
	if _, err := s.rt.Kinds().Get(p.Kind); err != nil {
		return err
	}
	nodes, err := s.nodes.Candidates(r.Context(), p.Kind, true)
	if err != nil {
		return err
	}
	return writePlaced(w, nodes, req)
}

func writePlaced(w http.ResponseWriter, nodes []placement.Node, req placement.Requirements) error {
	best, all, err := placement.Pick(nodes, req)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, api.Placed{NodeID: best.ID.String(), Name: best.Name, Verdicts: problem.VerdictsOf(all)})
}

// spawnWhere spawns the daemon on the node that meets its requirements best. On
// another node it is made here and moved there, for a peer makes no daemons for
// us, but takes ours where it lets us move them.
func (s *Server) spawnWhere(ctx context.Context, spawn daemon.SpawnRequest, place api.Place) (api.Daemon, error) {
	req, err := convert.RequirementsOf(place)
	if err != nil {
		return api.Daemon{}, err
	}
	nodes, err := s.nodes.Candidates(ctx, spawn.Kind, true)
	if err != nil {
		return api.Daemon{}, err
	}
	best, _, err := placement.Pick(nodes, req)
	if err != nil {
		return api.Daemon{}, err
	}
	i, err := s.rt.Spawn(ctx, spawn)
	if err != nil || best.ID == s.mesh.Self() {
		return convert.DaemonOf(i), err
	}
	rep, err := s.moveFresh(ctx, i, best.ID)
	if err != nil {
		return api.Daemon{}, fmt.Errorf("the daemon was made, but did not get to node %s: %w", best.ID, err)
	}
	i.Node, i.Epoch = rep.To, rep.Epoch
	return convert.DaemonOf(i), nil
}

// moveFresh moves a daemon that was just made. Where that fails nothing is left
// of it, unless it may be on the target.
func (s *Server) moveFresh(ctx context.Context, i daemon.Info, to identity.NodeID) (host.Report, error) {
	m, err := s.rt.StartMigrationWith(ctx, i.Entity, to, host.MigrationOptions{})
	var rep host.Report
	if err == nil {
		rep, err = m.Wait(ctx)
	}
	if err != nil {
		if m != nil {
			m.Cancel()
		}
		stopErr := s.rt.Daemons().Remove(context.WithoutCancel(ctx), i.Entity)
		if stopErr != nil && !errors.Is(stopErr, daemon.ErrNotFound) {
			err = errors.Join(err, fmt.Errorf("daemon %s is left: %w", i.Entity.Origin(), stopErr))
		}
	}
	return rep, err
}
