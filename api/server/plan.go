package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// A dry run comes as far as the request would, through the checks of who asks and of where
// what it names is, on whichever node; there a check stands in the place of what changes
// something.

// dryRun is the parameter of operations that can be asked what they would do.
var dryRun = query.Parameter{Name: api.DryRunParameter, Is: "boolean", What: "Change nothing: check all that the request needs, and answer with what it would do (schema Plan)."}

// planned are the operations that can be.
var planned = []string{
	"POST /v1/nodes/{node}/drain", "DELETE /v1/nodes/{node}/drain", "PUT /v1/trust/{node}", "DELETE /v1/trust/{node}", "DELETE /v1/cluster/members/{node}",
	"POST /v1/groups", "DELETE /v1/groups/{group}", "POST /v1/groups/{group}/scale", "POST /v1/groups/{group}/heal",
	"PUT /v1/kinds/{kind}", "DELETE /v1/kinds/{kind}", "PUT /v1/kinds/{kind}/limits",
	"POST /v1/daemons", "DELETE /v1/daemons/{ref}", "POST /v1/daemons/{ref}/stop", "POST /v1/daemons/{ref}/start", "POST /v1/daemons/{ref}/mend",
	"POST /v1/daemons/{ref}/upgrade", "PUT /v1/daemons/{ref}/limits", "POST /v1/daemons/{ref}/grants", "POST /v1/daemons/{ref}/fork", "POST /v1/daemons/{ref}/migrate",
	"POST /v1/daemons/{ref}/quarantine/{index}/retry", "DELETE /v1/daemons/{ref}/quarantine/{index}",
	"POST /v1/daemons/{ref}/subscriptions", "DELETE /v1/daemons/{ref}/subscriptions",
	"POST /v1/channels", "DELETE /v1/channels/{channel}",
}

// withDryRuns declares the parameter of the operations that have it.
func withDryRuns(all map[string]access.Operation) map[string]access.Operation {
	for _, pattern := range planned {
		op := all[pattern]
		op.Query = append(slices.Clone(op.Query), dryRun)
		all[pattern] = op
	}
	return all
}

// check looks at what a request needs, and says what would come of it. It changes nothing.
type check func(w http.ResponseWriter, r *http.Request) (api.Plan, error)

// planning is a handler that answers a dry run by a check, and all else by h.
func (s *Server) planning(c check, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !query.Of(r).Is(api.DryRunParameter) {
			return h(w, r)
		}
		p, err := c(w, r)
		if err != nil {
			return err
		}
		p.DryRun, p.NodeID = true, s.mesh.Self().String()
		return web.WriteJSON(w, p)
	}
}

func note(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }

// planDaemon is the plan of what is done to a daemon that is here.
func (s *Server) planDaemon(_ http.ResponseWriter, r *http.Request) (api.Plan, error) {
	i, err := s.rt.Daemons().Inspect(web.Entity(r))
	return api.Plan{Name: i.Name, EntityID: i.Entity.String(), Notes: note("it is %s", i.State)}, err
}

func (s *Server) planSpawn(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.Spawn
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	own, err := daemon.LimitsOf(req.Limits)
	if err == nil {
		err = own.ValidateOwn()
	}
	if err == nil {
		err = own.FitOn(s.rt.Node().Limits())
	}
	if err != nil {
		return p, err
	}
	if _, err = directory.ParseAck(req.Ack); err != nil {
		return p, err
	}
	spawn := daemon.SpawnRequest{Kind: req.Kind, Name: req.Name, Config: req.Config}
	if len(req.Identity) > 0 {
		if spawn.Identity, err = identity.FromSeed(req.Identity); err != nil {
			return p, err
		}
	}
	if len(req.Config) > daemon.MaxConfigBytes {
		return p, fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrConfigTooLarge, len(req.Config), daemon.MaxConfigBytes)
	}
	if _, err = s.grantsOf(r, api.Grants{MayPublish: req.MayPublish, MaySend: req.MaySend}); err != nil {
		return p, err
	}
	if err = s.freeName(r, spawn); err != nil {
		return p, err
	}
	p.Name = req.Name
	if p.Notes, err = s.planKind(r, req.Kind); err != nil {
		return p, err
	}
	for _, sub := range req.Subscribe {
		if _, err := s.mesh.FindNode(sub.Publisher); err != nil {
			return p, err
		}
	}
	if req.Place == nil {
		if s.rt.Node().Draining() {
			return p, daemon.ErrDraining
		}
		return p, nil
	}
	where, err := convert.RequirementsOf(*req.Place)
	if err != nil {
		return p, err
	}
	nodes, err := s.nodes.Candidates(r.Context(), req.Kind, true)
	if err != nil {
		return p, err
	}
	best, _, err := placement.Pick(nodes, where)
	if err != nil {
		return p, err
	}
	p.Notes = append(p.Notes, fmt.Sprintf("on node %s", best.ID))
	return p, nil
}

// freeName returns nil where a daemon of that name or identity can be made.
func (s *Server) freeName(r *http.Request, spawn daemon.SpawnRequest) error {
	if spawn.Name != "" {
		if err := daemon.ValidDaemonName(spawn.Name); err != nil {
			return err
		}
		id, err := s.rt.Daemons().Resolve(spawn.Name)
		if err == nil {
			if _, err := s.rt.Daemons().Inspect(id); err == nil {
				return fmt.Errorf("%w: %q", daemon.ErrNameTaken, spawn.Name)
			}
		}
	}
	if spawn.Identity != nil {
		if _, err := s.rt.Daemons().Inspect(spawn.Identity.ID()); err == nil {
			return fmt.Errorf("%w: %s", daemon.ErrAlreadyPresent, spawn.Identity.ID().Origin())
		}
	}
	return s.notElsewhere(r.Context(), spawn)
}

// planKind says of which module daemons of the kind would be.
func (s *Server) planKind(r *http.Request, name string) ([]string, error) {
	from, k, err := s.offered(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if from != 0 {
		return note("of module %.12s, taken from node %s", k.Digest, from), nil
	}
	return note("of module %.12s", k.Digest), nil
}

func (s *Server) planPush(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	p.Name = r.PathValue("kind")
	wasm, err := web.ReadAll(w, r, maxModule)
	if err == nil {
		err = daemon.ValidKind(p.Name)
	}
	if err != nil {
		return p, err
	}
	own, err := daemon.ParseLimits(query.Of(r).All("limit"))
	if err == nil {
		err = own.ValidateOwn()
	}
	if err == nil {
		err = own.FitOn(s.rt.Node().Limits())
	}
	if err != nil {
		return p, err
	}
	limits := own.Over(s.rt.Node().Limits())
	report, err := abi.Inspect(wasm, abi.Limits{ModuleBytes: limits.ModuleBytes, MemoryPages: uint32(limits.MemoryBytes >> 16), Shape: true})
	if err != nil {
		return p, err
	}
	if _, err := s.pushTargets(r); err != nil {
		return p, err
	}
	switch now, err := s.rt.Kinds().Get(p.Name); {
	case errors.Is(err, daemon.ErrKindNotFound):
		p.Notes = note("a new kind, of module %.12s", report.Digest)
	case err != nil:
		return p, err
	case now.Digest == report.Digest:
		p.Notes = note("it is of module %.12s already", report.Digest)
	default:
		p.Notes = note("module %.12s in the place of %.12s; %d daemons keep theirs until wasmhost upgrade", report.Digest, now.Digest, now.Daemons)
	}
	return p, nil
}

func (s *Server) planKindRemoval(_ http.ResponseWriter, r *http.Request) (api.Plan, error) {
	k, err := s.rt.Kinds().Get(r.PathValue("kind"))
	if err == nil && k.Daemons > 0 {
		err = &daemon.KindError{Kind: k.Name, Err: fmt.Errorf("%w: %d daemons are of it", daemon.ErrKindInUse, k.Daemons)}
	}
	return api.Plan{Name: k.Name}, err
}

func (s *Server) planLimits(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.SetLimits
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	if err := checkSetLimits(&req); err != nil {
		return p, err
	}
	var now daemon.Limits
	if name := r.PathValue("kind"); name != "" {
		k, err := s.rt.Kinds().Get(name)
		if err != nil {
			return p, err
		}
		p.Name, now = k.Name, k.Limits
	} else {
		i, err := s.rt.Daemons().Inspect(web.Entity(r))
		if err != nil {
			return p, err
		}
		p.Name, p.EntityID, now = i.Name, i.Entity.String(), i.OwnLimits
	}
	own, err := now.With(req.Limits)
	if err != nil {
		return p, err
	}
	return p, daemon.Concerning(own.FitOn(s.rt.Node().Limits()), req.Limits)
}

func (s *Server) planUpgrade(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.Upgrade
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	i, err := s.rt.Daemons().Inspect(web.Entity(r))
	if err != nil {
		return p, err
	}
	p.Name, p.EntityID = i.Name, i.Entity.String()
	if req.Rollback {
		p.Notes = note("back from module %.12s to the one before the last upgrade, if there was one", i.Module)
		return p, nil
	}
	digest, err := s.rt.Kinds().ModuleNamed(i.Kind, req.To)
	if err != nil && (!errors.Is(err, daemon.ErrModuleNotFound) || web.HexInto(digest[:], req.To) != nil) {
		return p, err
	}
	switch text := hex.EncodeToString(digest[:]); {
	case text == i.Module:
		p.Notes = note("it runs module %.12s already", text)
	case err != nil:
		p.Notes = note("module %.12s, which the node would take from another, in the place of %.12s", text, i.Module)
	default:
		p.Notes = note("module %.12s in the place of %.12s", text, i.Module)
	}
	return p, nil
}

func (s *Server) planMigrate(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.Migrate
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	if _, err := convert.MigrationOptionsOf(&req); err != nil {
		return p, err
	}
	if p, err = s.planDaemon(w, r); err != nil {
		return p, err
	}
	target, err := s.find.Target(req.To)
	if err != nil {
		return p, err
	}
	if target == s.mesh.Self() {
		p.Notes = note("it is on node %s already", target)
		return p, nil
	}
	there, err := s.nodes.Ask(r.Context(), target, "")
	if err != nil {
		return p, err
	}
	if there.Draining {
		return p, fmt.Errorf("%w: node %s", daemon.ErrDraining, target)
	}
	p.Notes = append(p.Notes, fmt.Sprintf("to node %s", target))
	return p, nil
}

func (s *Server) planSubscription(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.Subscribe
	if r.Method == http.MethodPost {
		err = web.ReadJSON(w, r, &req)
	} else {
		req.Publisher, req.Channel = query.Of(r).Text("publisher"), query.Of(r).Text("channel")
	}
	if err == nil {
		_, err = s.mesh.FindNode(req.Publisher)
	}
	if err == nil {
		err = identity.ValidChannel(req.Channel)
	}
	if err != nil {
		return p, err
	}
	return s.planDaemon(w, r)
}

func (s *Server) planQuarantined(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	n, err := index(r)
	if err != nil {
		return p, err
	}
	list, err := s.rt.Quarantine().List(r.Context(), web.Entity(r))
	if err != nil {
		return p, err
	}
	for _, q := range list {
		if q.Index == n {
			return s.planDaemon(w, r)
		}
	}
	return p, NotQuarantined(r.PathValue("ref"), n)
}

func (s *Server) planChannel(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	if p.Name, _, err = channelPolicy(w, r); err != nil {
		return p, err
	}
	if err := identity.ValidChannel(p.Name); err != nil {
		return p, err
	}
	if _, err := s.rt.Channels().Info(p.Name); err == nil {
		return p, fmt.Errorf("%w: %q", channel.ErrExists, p.Name)
	}
	return p, nil
}

func (s *Server) planChannelRemoval(_ http.ResponseWriter, r *http.Request) (api.Plan, error) {
	i, err := s.rt.Channels().Info(r.PathValue("channel"))
	return api.Plan{Name: i.Name, Notes: note("with %d events", i.Events)}, err
}

func (s *Server) planTrust(_ http.ResponseWriter, r *http.Request) (api.Plan, error) {
	peer, err := s.mesh.FindPeer(r.PathValue("node"))
	if err == nil && r.Method == http.MethodPut {
		_, err = rightsOf(r)
	}
	return api.Plan{Name: peer.Name}, err
}

func (s *Server) planDrain(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	if r.Method == http.MethodDelete {
		if s.drains.running() == nil && !s.rt.Node().Draining() {
			p.Notes = note("it takes daemons already")
		}
		return p, nil
	}
	var req api.Drain
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	if err := s.checkDrain(&req); err != nil {
		return p, err
	}
	for _, ref := range req.To {
		if _, err := s.find.Target(ref); err != nil {
			return p, err
		}
	}
	p.Notes = note("daemons that would move: %d", len(s.rt.Daemons().List()))
	return p, nil
}

func (s *Server) planMemberRemoval(_ http.ResponseWriter, r *http.Request) (api.Plan, error) {
	n, err := s.cluster.Removable(r.PathValue("node"))
	if err != nil {
		return api.Plan{}, err
	}
	return api.Plan{Name: n.Name}, nil
}

func (s *Server) planGroup(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	var req api.CreateGroup
	if err := web.ReadJSON(w, r, &req); err != nil {
		return p, err
	}
	p.Name = req.Name
	if err := daemon.ValidDaemonName(req.Name); err != nil {
		return p, err
	}
	if _, err := s.group.Named(req.Name); err == nil {
		return p, fmt.Errorf("%w: %q", group.ErrExists, req.Name)
	}
	if _, err := convert.RequirementsOf(req.Place); err != nil {
		return p, err
	}
	p.Notes, err = s.planKind(r, req.Kind)
	return p, err
}

func (s *Server) planMembers(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	g, err := s.group.Named(r.PathValue("group"))
	if err != nil {
		return p, err
	}
	p.Name, p.Notes = g.Name, note("it has %d members", g.Size)
	return p, nil
}
