package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"wasmhost.example/api/server/cluster"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/applications"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/api/server/internal/groups"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/rollout"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/metrics"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"

	"go.opentelemetry.io/otel/trace"
)

// Server answers the control API of one node. It is an http.Handler for the
// node's owner; Peers is the handler for what other nodes ask on behalf of
// theirs.
type Server struct {
	rt      *host.Runtime
	mesh    *wire.Mesh
	node    *wire.Node
	version string
	logger  *slog.Logger
	mux     *http.ServeMux
	apps    applications.Keeper

	patterns []string // of the routes

	find    *locate.Finder
	nodes   *locate.Announcer
	drains  drains
	balance balance
	group   *groups.Keeper
	cluster *cluster.Cluster
	roll    *rollout.Room
	metrics *metrics.Metrics // nil: none
	guard   *access.Guard
	backups *backups // nil: the node gives none
}

// Bounds on requests.
const (
	maxModule   = 1 << 30           // bytes of a module in a body; the limit module-bytes is lower
	maxSnapshot = snapshot.MaxBytes // bytes of a snapshot in a body; the node's room for uploads may be lower
)

// NewServer makes the server of a node, and lets it answer the node's peers.
func New(rt *host.Runtime, mesh *wire.Mesh, node *wire.Node, version string, logger *slog.Logger) *Server {
	s := &Server{find: locate.NewFinder(rt, rt.Daemons(), rt.Places(), mesh, logger), nodes: locate.NewAnnouncer(rt, rt.Node(), rt.Kinds(), rt.Migrations().Arrivals, mesh, version), rt: rt, mesh: mesh, node: node, version: version, logger: logger, mux: http.NewServeMux(), guard: access.New(mesh, rt.Node().Budgets(), logger)}
	s.group = groups.New(rt, mesh, node, s.find, s.guard, groups.Services{Candidates: s.nodes.Candidates, MoveFresh: s.moveFresh, Remove: rt.Daemons().Remove, Inspect: rt.Daemons().Inspect, Sight: rt.Evidence().Sight, LearnKind: s.learnKind, Ambiguous: func(n int) { s.metrics.CountAmbiguous(n) }}, logger)
	s.cluster = cluster.New(rt, rt.Node(), rt.Copies(), rt.Places().Remembered, s.find, s.guard, mesh, s.group.Sight, logger)
	s.roll = rollout.New(rt, rt.Daemons(), mesh, s.find, s.group.Members, rt.Kinds().ModuleNamed, s.learnKind, logger)
	if err := s.KeepGroups(&group.Memory{}); err != nil {
		panic(err) // there is nothing in it to read
	}
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/openapi.json":               getOpenAPI,
		"GET /v1/happenings":                 s.guard.Needs(trust.RightRead, s.getHappenings),
		"POST /v1/api-tokens":                s.guard.Owner(s.guard.PostAPIToken),
		"GET /v1/api-tokens":                 s.guard.Owner(s.guard.GetAPITokens),
		"DELETE /v1/api-tokens/{id}":         s.guard.Owner(s.guard.DeleteAPIToken),
		"GET /v1/node":                       s.nodes.GetNode,
		"GET /v1/nodes":                      s.guard.Needs(trust.RightRead, s.getNodes),
		"GET /v1/nodes/{node}":               s.guard.Needs(trust.RightRead, s.getNodeOf),
		"POST /v1/nodes/{node}/drain":        s.guard.Needs(trust.RightOperate, s.atNode(s.planning(s.planDrain, s.postDrain))),
		"DELETE /v1/nodes/{node}/drain":      s.guard.Needs(trust.RightOperate, s.atNode(s.planning(s.planDrain, s.deleteDrain))),
		"POST /v1/token":                     s.guard.Owner(s.postToken),
		"POST /v1/join":                      s.guard.Owner(s.postJoin),
		"PUT /v1/trust/{node}":               s.guard.Owner(s.planning(s.planTrust, s.putRights)),
		"DELETE /v1/trust/{node}":            s.guard.Owner(s.planning(s.planTrust, s.deleteTrust)),
		"GET /v1/applications":               s.guard.Needs(trust.RightRead, s.apps.GetAll),
		"GET /v1/applications/{application}": s.guard.Needs(trust.RightRead, s.apps.Get),
		"PUT /v1/applications/{application}": s.guard.Owner(s.apps.Put),
		"GET /v1/kinds":                      s.guard.Needs(trust.RightRead, s.getKinds),
		"GET /v1/kinds/{kind}":               s.guard.Needs(trust.RightRead, s.getKind),
		"PUT /v1/kinds/{kind}":               s.guard.Needs(trust.RightKinds, s.planning(s.planPush, s.putKind)),
		"DELETE /v1/kinds/{kind}":            s.guard.Owner(s.planning(s.planKindRemoval, s.deleteKind)),
		"GET /v1/kinds/{kind}/module":        s.guard.Needs(trust.RightRead, s.getModule),
		"GET /v1/daemons":                    s.getDaemons,
		"GET /v1/top":                        s.guard.Needs(trust.RightRead, s.getTop),
		"POST /v1/daemons":                   s.guard.Owner(s.planning(s.planSpawn, s.postDaemon)),
		"POST /v1/place":                     s.guard.Needs(trust.RightRead, s.postPlaceKind),
		"POST /v1/rebalance":                 s.guard.Needs(trust.RightOperate, s.postRebalance),
		"POST /v1/snapshots":                 s.guard.Owner(s.postSnapshot),
		"POST /v1/backup":                    s.guard.Owner(s.postBackup),
		"GET /v1/incarnation":                s.guard.Needs(trust.RightRead, s.getIncarnation),
		"POST /v1/incarnation/confirm":       s.guard.Owner(s.postIncarnation),
		"GET /v1/migrations":                 s.guard.Owner(s.getMigrations),
		"GET /v1/proofs":                     s.guard.Owner(s.getProofs),
		"GET /v1/held":                       s.guard.Needs(trust.RightRead, s.getHeld),
		"GET /v1/cluster":                    s.guard.Needs(trust.RightRead, s.cluster.GetCluster),

		"POST /v1/cluster/members":          s.cluster.Joins(s.cluster.PostMember),
		"DELETE /v1/cluster/members/{node}": s.guard.Owner(s.planning(s.planMemberRemoval, s.cluster.DeleteMember)),

		"POST /v1/cluster/recovery":             s.guard.Owner(s.cluster.PostRecovery),
		"GET /v1/cluster/copies":                s.guard.Needs(trust.RightRead, s.cluster.GetCopies),
		"GET /v1/cluster/copies/{entity}/chain": s.guard.Needs(trust.RightRead, s.cluster.GetCopyChain),
		"GET /v1/cluster/known":                 s.guard.Needs(trust.RightRead, s.cluster.GetKnown),
		"POST /v1/cluster/promotions":           s.guard.Needs(trust.RightsVoter, s.cluster.PostPromotion),
		"PUT /v1/cluster/directory":             s.guard.Needs(trust.RightsVoter, s.cluster.PutDirectory),

		"POST /v1/proofs":         s.guard.Owner(s.postProof),
		"GET /v1/proofs/{ref}":    s.guard.Owner(s.getProof),
		"DELETE /v1/proofs/{ref}": s.guard.Owner(s.deleteProof),

		"GET /v1/channels":                    s.ofNode(s.guard.Needs(trust.RightChannels, s.getChannels)),
		"POST /v1/channels":                   s.guard.Owner(s.planning(s.planChannel, s.postChannel)),
		"GET /v1/channels/{channel}":          s.ofNode(s.permitted(identity.ScopeAdmin, s.getChannel)),
		"DELETE /v1/channels/{channel}":       s.ofNode(s.administered(s.planning(s.planChannelRemoval, s.deleteChannel))),
		"POST /v1/channels/{channel}/publish": s.ofNode(s.permitted(identity.ScopePublish, s.postPublish)),
		"GET /v1/channels/{channel}/events":   s.ofNode(s.permitted(identity.ScopeSubscribe, s.getFollow)),
		"GET /v1/revocations":                 s.guard.Needs(trust.RightChannels, s.getRevocations),
		"POST /v1/revocations":                s.guard.Owner(s.postRevocation),

		"GET /v1/daemons/{ref}/subscriptions":    s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getSubscriptions)),
		"POST /v1/daemons/{ref}/subscriptions":   s.guard.Needs(trust.RightOperate, s.namingPublisher(s.find.AtOwner(s.planning(s.planSubscription, s.postSubscription)))),
		"DELETE /v1/daemons/{ref}/subscriptions": s.guard.Needs(trust.RightOperate, s.namingPublisher(s.find.AtOwner(s.planning(s.planSubscription, s.deleteSubscription)))),

		"POST /v1/migrations/{ref}/resolve": s.guard.Owner(s.postResolve),

		"POST /v1/daemons/{ref}/events":  s.group.ToGroup(s.postEvent),
		"POST /v1/daemons/{ref}/stream":  s.group.ToGroup(s.postStream),
		"POST /v1/daemons/{ref}/query":   s.guard.Needs(trust.RightRead, s.find.AtOwner(s.postQuery)),
		"GET /v1/daemons/{ref}":          s.find.AtOwner(s.getDaemon),
		"DELETE /v1/daemons/{ref}":       s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planDaemon, s.deleteDaemon))),
		"GET /v1/daemons/{ref}/logs":     s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getLogs)),
		"GET /v1/daemons/{ref}/tail":     s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getTail)),
		"GET /v1/daemons/{ref}/snapshot": s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getSnapshot)),
		"GET /v1/daemons/{ref}/receipts": s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getReceipts)),

		"GET /v1/daemons/{ref}/receipts/{epoch}": s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getReceipt)),

		"GET /v1/daemons/{ref}/chain":    s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getChain)),
		"POST /v1/daemons/{ref}/stop":    s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planDaemon, s.postStop))),
		"POST /v1/daemons/{ref}/start":   s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planDaemon, s.postStart))),
		"POST /v1/daemons/{ref}/mend":    s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planDaemon, s.postMend))),
		"POST /v1/daemons/{ref}/confirm": s.guard.Needs(trust.RightOperate, s.atHeld(s.postConfirm)),
		"POST /v1/daemons/{ref}/yield":   s.guard.Needs(trust.RightOperate, s.atHeld(s.postYield)),
		"POST /v1/upgrades":              s.guard.Owner(s.roll.PostRollout),
		"POST /v1/daemons/{ref}/upgrade": s.guard.Needs(trust.RightOperate, s.namingModule(s.find.AtOwner(s.planning(s.planUpgrade, s.postUpgrade)))),
		"POST /v1/daemons/{ref}/fork":    s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planDaemon, s.postFork))),
		"GET /v1/daemons/{ref}/grants":   s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getGrants)),
		"POST /v1/daemons/{ref}/grants":  s.guard.Needs(trust.RightOperate, s.namingGrants(s.find.AtOwner(s.planning(s.planGrants, s.postGrants)))),
		"GET /v1/daemons/{ref}/limits":   s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getDaemonLimits)),
		"PUT /v1/daemons/{ref}/limits":   s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planLimits, s.putDaemonLimits))),
		"GET /v1/kinds/{kind}/limits":    s.guard.Needs(trust.RightRead, s.getKindLimits),
		"PUT /v1/kinds/{kind}/limits":    s.guard.Needs(trust.RightKinds, s.planning(s.planLimits, s.putKindLimits)),
		"GET /v1/limits":                 s.guard.Needs(trust.RightRead, s.getNodeLimits),

		"GET /v1/daemons/{ref}/quarantine":                s.guard.Needs(trust.RightRead, s.find.AtOwner(s.getQuarantine)),
		"POST /v1/daemons/{ref}/quarantine/{index}/retry": s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planQuarantined, s.postRetry))),
		"DELETE /v1/daemons/{ref}/quarantine/{index}":     s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.planning(s.planQuarantined, s.deleteQuarantined))),

		"GET /v1/groups":                s.guard.Needs(trust.RightRead, s.group.GetGroups),
		"POST /v1/groups":               s.guard.Owner(s.planning(s.planGroup, s.group.PostGroup)),
		"GET /v1/groups/{group}":        s.guard.Needs(trust.RightRead, s.group.AtKeeper(s.group.GetGroup)),
		"DELETE /v1/groups/{group}":     s.guard.Needs(trust.RightOperate, s.group.AtKeeper(s.planning(s.planMembers, s.group.DeleteGroup))),
		"POST /v1/groups/{group}/scale": s.guard.Needs(trust.RightOperate, s.group.AtKeeper(s.planning(s.planMembers, s.group.PostScale))),
		"POST /v1/groups/{group}/heal":  s.guard.Needs(trust.RightOperate, s.group.AtKeeper(s.planning(s.planMembers, s.group.PostHeal))),
		"GET /v1/sightings/{entity}":    s.group.GetSighting,

		"POST /v1/daemons/{ref}/place":   s.guard.Needs(trust.RightOperate, s.find.AtOwner(s.postPlace)),
		"POST /v1/daemons/{ref}/migrate": s.guard.Needs(trust.RightOperate, s.naming(s.find.AtOwner(s.planning(s.planMigrate, s.postMigrate)))),
	} {
		s.handle(pattern, h)
	}
	s.mux.HandleFunc("GET /metrics", s.scraped)
	s.mux.Handle("GET "+dashboard.Path, dashboard.Handler())
	s.mux.Handle("GET /{$}", http.RedirectHandler(dashboard.Path, http.StatusFound))
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { web.WriteText(w, "ok") })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := rt.Ready(); errors.Is(err, daemon.ErrNotReady) {
			done, total := rt.Node().Recovery()
			problem.Write(w, fmt.Errorf("%w: %d of %d active daemons are recovered", err, done, total))
			return
		} else if err != nil {
			problem.Write(w, err)
			return
		}
		if err := rt.Node().Holding(); err != nil {
			problem.Write(w, err)
			return
		}
		web.WriteText(w, "ready")
	})
	mesh.ServeHTTP(s)
	return s
}

func (s *Server) handle(pattern string, h web.Handler) {
	s.patterns = append(s.patterns, pattern)
	s.mux.HandleFunc(pattern, s.guard.Guarded(pattern, operations[pattern], h))
}

// SetAudit makes the server write down every request that changes something or is refused:
// in JSON lines, where logger's handler does. It is called before the server serves.
func (s *Server) SetAudit(logger *slog.Logger) { s.guard.SetAudit(logger) }

// SetTracer makes the server trace requests that change something, and those that say that
// they are traced (W3C Trace Context), before it serves.
func (s *Server) SetTracer(t trace.Tracer) { s.guard.SetTracer(t) }

// LoadApplications makes the server know what was applied, which st holds, and keep there what
// changes. It is called before the server serves.
func (s *Server) LoadApplications(st *store.Store) error { return s.apps.Load(st) }

// LoadTokens makes the server know the API tokens that st holds, and keep there those that it
// issues. It is called before the server serves.
func (s *Server) LoadTokens(st *store.Store) error { return s.guard.LoadTokens(st) }

// TCP returns the handler for callers that come over TCP, which TLS must protect: each names
// itself by an API token.
func (s *Server) TCP() http.Handler { return s.guard.TCP(s) }

// KeepGroups has the node keep groups in the registry. It is called before the server
// answers; without it groups are forgotten when the node ends.
func (s *Server) KeepGroups(in group.Registry) error {
	return s.group.KeepGroups(in, s.rt.Node().SenderMemory())
}

// HealGroups looks at the members of all groups that this node keeps, over and over, until
// ctx ends.
func (s *Server) HealGroups(ctx context.Context, every time.Duration) { s.group.HealGroups(ctx, every) }

// SetEngine tells the server of the node's cluster. It is called before the server answers.
func (s *Server) SetEngine(e cluster.Engine) { s.cluster.SetEngine(e) }

// SetTags sets what the node announces as its tags. The map must not change after. It may be
// called while the server serves.
func (s *Server) SetTags(tags map[string]string) { s.nodes.SetTags(tags) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.StartBody(w, r)
	s.mux.ServeHTTP(w, r)
}

// TimeBodies bounds the time of the bodies of requests that h answers.
func TimeBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer web.TimeBody(w, r, false)()
		h.ServeHTTP(w, r)
	})
}
