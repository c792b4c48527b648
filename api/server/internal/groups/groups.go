// Package groups answers requests about the groups of daemons that this node keeps, sends
// events to their members, and finds the groups that other nodes keep.
package groups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// daemons is what a node does and knows of daemons, for the groups that it keeps.
type daemons interface {
	Spawn(context.Context, daemon.SpawnRequest) (daemon.Info, error)
	Believe(ctx context.Context, id identity.EntityID, at, by identity.NodeID) (host.Proven, error)
	Cluster() (*directory.Member, error)
}

// placer is what the rest of the server does for groups.
type Services struct {
	Candidates func(ctx context.Context, kind string, here bool) ([]placement.Node, error)       // for a daemon
	MoveFresh  func(ctx context.Context, i daemon.Info, to identity.NodeID) (host.Report, error) // moves a daemon that was just made, or removes it
	Remove     func(context.Context, identity.EntityID) error                                    // ends a daemon of this node
	Inspect    func(identity.EntityID) (daemon.Info, error)                                      // a daemon of this node
	Sight      func(identity.EntityID) (host.Sighting, error)                                    // what this node alone knows of a daemon
	LearnKind  func(ctx context.Context, kind string) error                                      // makes a kind known that peers have
	Ambiguous  func(n int)                                                                       // hears how many names of groups are ambiguous
}

// groupRoom keeps the groups of this node, and finds those of others. It is safe for
// concurrent use once KeepGroups was called.
type Keeper struct {
	rt     daemons
	mesh   *wire.Mesh
	node   *wire.Node
	find   *locate.Finder
	guard  *access.Guard
	place  Services
	logger *slog.Logger
	groups *group.Manager
	names  names
}

// newGroupRoom makes a room that keeps no groups yet.
func New(rt daemons, mesh *wire.Mesh, node *wire.Node, find *locate.Finder, guard *access.Guard, place Services, logger *slog.Logger) *Keeper {
	return &Keeper{rt: rt, mesh: mesh, node: node, find: find, guard: guard, place: place, logger: logger}
}

func (k *Keeper) groupOf(g *group.Group) api.Group {
	out := api.Group{Name: g.Name, ID: fmt.Sprintf("%08x", g.ID), Kind: g.Kind, NodeID: k.mesh.Self().String(), Size: g.Size, Strategy: string(g.Strategy), Standbys: g.Standbys, Senders: k.groups.Senders(g.Name), Members: []api.GroupMember{}}
	rivals, _ := k.names.of(g.Name).current(0)
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
func (k *Keeper) KeepGroups(in group.Registry, memory time.Duration) (err error) {
	k.groups, err = group.NewManager(groupNodes{k}, in, group.SenderMemory{For: memory}, k.logger)
	return err
}

// HealGroups looks at the members of all groups that this node keeps, over and over,
// until ctx ends.
func (k *Keeper) HealGroups(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		k.freeNames(ctx)
		for _, g := range k.groups.List() {
			if _, err := k.askRivals(ctx, k.names.of(g.Name), g.Name, true); err != nil && ctx.Err() == nil {
				k.logger.Warn("asking who else keeps a group's name", "group", g.Name, "error", err)
			}
			if _, err := k.groups.Heal(ctx, g.Name); err != nil && ctx.Err() == nil {
				k.logger.Warn("healing a group", "group", g.Name, "error", err)
			}
		}
	}
}

// GetGroups lists the groups of this node; with all those of its peers too.
func (k *Keeper) GetGroups(w http.ResponseWriter, r *http.Request) error {
	out := []api.Group{}
	for _, g := range k.groups.List() {
		out = append(out, k.groupOf(g))
	}
	key := func(g api.Group) string { return g.Name + "\x00" + g.NodeID }
	if query.Of(r).Is("all") {
		theirs, _, err := locate.AskAll(r.Context(), k.find, func(ctx context.Context, c *client.Client) ([]api.Group, error) { return c.Groups().List(ctx, false) })
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

// keeperOf finds the node that keeps a group; group.ErrNotFound, *AmbiguousGroupError. With
// ?local=true only a group of this node is meant, though others keep one of the name.
func (k *Keeper) keeperOf(r *http.Request, name string) (identity.NodeID, error) {
	_, err := k.groups.Get(name)
	local := query.Of(r).Is("local")
	switch {
	case err == nil && !local:
		err = k.soleKeeper(r.Context(), name)
		return k.mesh.Self(), err
	case err == nil:
		return k.mesh.Self(), nil
	case local || r.Header.Get(web.HopsHeader) != "":
		return 0, err
	}
	at, silent, askErr := k.keptAt(r.Context(), name)
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

// AtKeeper answers requests about a group that is kept here, and passes others to the
// node that keeps it.
func (k *Keeper) AtKeeper(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := k.keeperOf(r, r.PathValue("group"))
		if err != nil {
			return err
		}
		if at == k.mesh.Self() {
			return h(w, r)
		}
		return k.find.PassTo(w, r, r.URL.Path, at)
	}
}

// PostGroup makes a group of daemons of one kind and answers with it.
func (k *Keeper) PostGroup(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := errors.Join(daemon.ValidDaemonName(req.Name), daemon.ValidName(group.MemberName(req.Name, group.MaxSize))); err != nil {
		return err
	}
	if err := k.place.LearnKind(r.Context(), req.Kind); err != nil {
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
	g, err := k.createGroup(r.Context(), spec, seed)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, k.groupOf(g))
}

// Named returns a group that this node keeps.
func (k *Keeper) Named(name string) (*group.Group, error) { return k.groups.Get(name) }

// GetGroup answers with one group and its members.
func (k *Keeper) GetGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := k.groups.Get(r.PathValue("group"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, k.groupOf(g))
}

// DeleteGroup stops the members of a group and forgets it.
func (k *Keeper) DeleteGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := k.groups.Get(r.PathValue("group"))
	if err == nil {
		err = k.removeGroup(r.Context(), g.Name)
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, k.groupOf(g))
}

// PostScale makes or stops members of a group until there are as many as asked for.
func (k *Keeper) PostScale(w http.ResponseWriter, r *http.Request) error {
	var req api.ScaleGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	g, err := k.groups.Scale(r.Context(), r.PathValue("group"), req.Size)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, k.groupOf(g))
}

// PostHeal looks at the members of a group now, and recreates those that are lost.
func (k *Keeper) PostHeal(w http.ResponseWriter, r *http.Request) error {
	var req api.HealGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	name := r.PathValue("group")
	for _, index := range req.Lost {
		if index < 0 || index >= group.MaxSize {
			return fmt.Errorf("%w: %d", group.ErrUnknown, index)
		}
		if _, err := k.groups.DeclareLost(r.Context(), name, uint8(index)); err != nil {
			return err
		}
	}
	g, err := k.groups.Heal(r.Context(), name)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, k.groupOf(g))
}

// Members returns the kind of a group and the entities of its members, wherever it is kept;
// the request is the one that names it.
func (k *Keeper) Members(r *http.Request, name string) (kind string, members []string, err error) {
	at, err := k.keeperOf(r, name)
	if err != nil {
		return "", nil, err
	}
	var g api.Group
	if at == k.mesh.Self() {
		var here *group.Group
		if here, err = k.groups.Get(name); err == nil {
			g = k.groupOf(here)
		}
	} else {
		g, err = locate.PeerClient(k.mesh, at).Groups().GetHere(r.Context(), name)
	}
	for _, m := range g.Members {
		members = append(members, m.EntityID)
	}
	return g.Kind, members, err
}
