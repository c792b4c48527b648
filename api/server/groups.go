package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

func (s *Server) groupOf(g *group.Group) api.Group {
	out := api.Group{Name: g.Name, ID: fmt.Sprintf("%08x", g.ID), Kind: g.Kind, NodeID: s.mesh.Self().String(), Size: g.Size, Strategy: string(g.Strategy), Standbys: g.Standbys, Senders: s.groups.Senders(g.Name), Members: []api.GroupMember{}}
	rivals, _ := s.names.of(g.Name).current(0)
	for _, id := range rivals {
		out.AlsoAt = append(out.AlsoAt, id.String())
	}
	for _, m := range g.Members {
		if m.Health == group.Healthy {
			out.Healthy++
		}
		out.Members = append(out.Members, api.GroupMember{Index: int(m.Index), Name: group.MemberName(g.Name, m.Index), EntityID: m.Entity.String(), NodeID: m.Node.String(), Epoch: m.Epoch, Health: m.Health.String(), Reason: m.Reason})
	}
	return out
}

// KeepGroups has the node keep groups in the registry. It is called before the server
// answers; without it groups are forgotten when the node ends.
func (s *Server) KeepGroups(in group.Registry) (err error) {
	memory := group.SenderMemory{For: s.rt.Node().SenderMemory()}
	s.groups, err = group.NewManager(groupNodes{s}, in, memory, s.logger)
	return err
}

// HealGroups looks at the members of all groups that this node keeps, over and over,
// until ctx ends.
func (s *Server) HealGroups(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.freeNames(ctx)
		for _, g := range s.groups.List() {
			if _, err := s.askRivals(ctx, s.names.of(g.Name), g.Name, true); err != nil && ctx.Err() == nil {
				s.logger.Warn("asking who else keeps a group's name", "group", g.Name, "error", err)
			}
			if _, err := s.groups.Heal(ctx, g.Name); err != nil && ctx.Err() == nil {
				s.logger.Warn("healing a group", "group", g.Name, "error", err)
			}
		}
	}
}

// getGroups lists the groups of this node; with all those of its peers too.
func (s *Server) getGroups(w http.ResponseWriter, r *http.Request) error {
	out := []api.Group{}
	for _, g := range s.groups.List() {
		out = append(out, s.groupOf(g))
	}
	key := func(g api.Group) string { return g.Name + "\x00" + g.NodeID }
	if query.Of(r).Is("all") {
		theirs, _, err := askAll(r.Context(), s, func(ctx context.Context, c *client.Client) ([]api.Group, error) { return c.Groups().List(ctx, false) })
		if err != nil {
			return err
		}
		for _, list := range theirs {
			out = append(out, list...)
		}
		markRivals(out)
	}
	slices.SortFunc(out, func(a, b api.Group) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

// markRivals says of each group of a list which others of it have its name.
func markRivals(list []api.Group) {
	at := make(map[string][]string)
	for _, g := range list {
		at[g.Name] = append(at[g.Name], g.NodeID)
	}
	for i := range list {
		g := &list[i]
		for _, id := range at[g.Name] {
			if id != g.NodeID && !slices.Contains(g.AlsoAt, id) {
				g.AlsoAt = append(g.AlsoAt, id)
			}
		}
		slices.Sort(g.AlsoAt)
	}
}

// keeper finds the node that keeps a group; group.ErrNotFound, *AmbiguousGroupError. With
// ?local=true only a group of this node is meant, though others keep one of the name.
func (s *Server) keeper(r *http.Request, name string) (identity.NodeID, error) {
	_, err := s.groups.Get(name)
	local := query.Of(r).Is("local")
	switch {
	case err == nil && !local:
		err = s.soleKeeper(r.Context(), name)
		return s.mesh.Self(), err
	case err == nil:
		return s.mesh.Self(), nil
	case local || r.Header.Get(web.HopsHeader) != "":
		return 0, err
	}
	at, silent, askErr := s.keptAt(r.Context(), name)
	switch {
	case askErr != nil:
		return 0, askErr
	case at != 0:
		return at, nil
	case len(silent) > 0:
		return 0, fmt.Errorf("%w: group %q is not here, and may be on a node that does not answer: %v", mesh.ErrUnreachable, name, silent)
	}
	return 0, err
}

// atKeeper answers requests about a group that is kept here, and passes others to the
// node that keeps it.
func (s *Server) atKeeper(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := s.keeper(r, r.PathValue("group"))
		if err != nil {
			return err
		}
		if at == s.mesh.Self() {
			return h(w, r)
		}
		return s.passTo(w, r, r.URL.Path, at)
	}
}

func (s *Server) postGroup(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := errors.Join(daemon.ValidDaemonName(req.Name), daemon.ValidName(group.MemberName(req.Name, group.MaxSize))); err != nil {
		return err
	}
	if err := s.learnKind(r.Context(), req.Kind); err != nil {
		return err
	}
	spec := group.Spec{Name: req.Name, Kind: req.Kind, Size: req.Size, Strategy: group.Strategy(req.Strategy), Config: req.Config, Standbys: req.Standbys, Ack: req.Ack}
	var err error
	if spec.Place, err = convert.RequirementsOf(req.Place); err != nil {
		return err
	}
	var seed *[32]byte
	if len(req.Seed) > 0 {
		if len(req.Seed) != len(seed) {
			return fmt.Errorf("%w: a seed has %d bytes, not %d", api.ErrBadRequest, len(seed), len(req.Seed))
		}
		seed = (*[32]byte)(req.Seed)
	}
	g, err := s.createGroup(r.Context(), spec, seed)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.groupOf(g))
}

func (s *Server) getGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := s.groups.Get(r.PathValue("group"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.groupOf(g))
}

func (s *Server) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := s.groups.Get(r.PathValue("group"))
	if err == nil {
		err = s.removeGroup(r.Context(), g.Name)
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.groupOf(g))
}

func (s *Server) postScale(w http.ResponseWriter, r *http.Request) error {
	var req api.ScaleGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	g, err := s.groups.Scale(r.Context(), r.PathValue("group"), req.Size)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.groupOf(g))
}

func (s *Server) postHeal(w http.ResponseWriter, r *http.Request) error {
	var req api.HealGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	name := r.PathValue("group")
	for _, index := range req.Lost {
		if index < 0 || index >= group.MaxSize {
			return fmt.Errorf("%w: %d", group.ErrUnknown, index)
		}
		if _, err := s.groups.DeclareLost(r.Context(), name, uint8(index)); err != nil {
			return err
		}
	}
	g, err := s.groups.Heal(r.Context(), name)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.groupOf(g))
}

// groupRoutes are those of groups.
func (s *Server) groupRoutes() map[string]web.Handler {
	return map[string]web.Handler{
		"GET /v1/groups":                s.needs(wire.RightRead, s.getGroups),
		"POST /v1/groups":               s.owner(s.postGroup),
		"GET /v1/groups/{group}":        s.needs(wire.RightRead, s.atKeeper(s.getGroup)),
		"DELETE /v1/groups/{group}":     s.needs(wire.RightOperate, s.atKeeper(s.deleteGroup)),
		"POST /v1/groups/{group}/scale": s.needs(wire.RightOperate, s.atKeeper(s.postScale)),
		"POST /v1/groups/{group}/heal":  s.needs(wire.RightOperate, s.atKeeper(s.postHeal)),
		"GET /v1/sightings/{entity}":    s.getSighting,
	}
}
