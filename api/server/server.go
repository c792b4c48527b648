package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/wire"

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

	patterns []string // of the routes

	tags       atomic.Pointer[map[string]string] // of the node
	drains     drains
	balance    balance
	groups     *group.Manager
	names      names        // of groups
	engine     Engine       // nil: the node is in no cluster
	metrics    *Metrics     // nil: none
	audit      *slog.Logger // nil: none
	tokens     apiTokens
	backups    *backups // nil: the node gives none
	answers    answers
	recovering sync.Mutex                  // held by the recovery of the cluster that runs
	tracer     trace.Tracer                // nil: none
	cross      *http.CrossOriginProtection // against a browser that somebody let reach the socket
}

// Bounds on requests.
const (
	maxModule   = 1 << 30           // bytes of a module in a body; the limit module-bytes is lower
	maxSnapshot = snapshot.MaxBytes // bytes of a snapshot in a body; the node's room for uploads may be lower
	askTimeout  = 2 * time.Second
)

// NewServer makes the server of a node, and lets it answer the node's peers.
func New(rt *host.Runtime, mesh *wire.Mesh, node *wire.Node, version string, logger *slog.Logger) *Server {
	s := &Server{rt: rt, mesh: mesh, node: node, version: version, logger: logger, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection()}
	if err := s.KeepGroups(&group.Memory{}); err != nil {
		panic(err) // there is nothing in it to read
	}
	s.tokens = apiTokens{clock: time.Now, byID: make(map[string]*apiToken)}
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/openapi.json":          getOpenAPI,
		"GET /v1/happenings":            s.needs(wire.RightRead, s.getHappenings),
		"POST /v1/api-tokens":           s.owner(s.postAPIToken),
		"GET /v1/api-tokens":            s.owner(s.getAPITokens),
		"DELETE /v1/api-tokens/{id}":    s.owner(s.deleteAPIToken),
		"GET /v1/node":                  s.getNode,
		"GET /v1/nodes":                 s.needs(wire.RightRead, s.getNodes),
		"GET /v1/nodes/{node}":          s.needs(wire.RightRead, s.getNodeOf),
		"POST /v1/nodes/{node}/drain":   s.needs(wire.RightOperate, s.atNode(s.postDrain)),
		"DELETE /v1/nodes/{node}/drain": s.needs(wire.RightOperate, s.atNode(s.deleteDrain)),
		"POST /v1/token":                s.owner(s.postToken),
		"POST /v1/join":                 s.owner(s.postJoin),
		"PUT /v1/trust/{node}":          s.owner(s.putRights),
		"DELETE /v1/trust/{node}":       s.owner(s.deleteTrust),
		"GET /v1/kinds":                 s.needs(wire.RightRead, s.getKinds),
		"GET /v1/kinds/{kind}":          s.needs(wire.RightRead, s.getKind),
		"PUT /v1/kinds/{kind}":          s.needs(wire.RightKinds, s.putKind),
		"DELETE /v1/kinds/{kind}":       s.owner(s.deleteKind),
		"GET /v1/kinds/{kind}/module":   s.needs(wire.RightRead, s.getModule),
		"GET /v1/daemons":               s.getDaemons,
		"GET /v1/top":                   s.needs(wire.RightRead, s.getTop),
		"POST /v1/daemons":              s.owner(s.postDaemon),
		"POST /v1/place":                s.needs(wire.RightRead, s.postPlaceKind),
		"POST /v1/rebalance":            s.needs(wire.RightOperate, s.postRebalance),
		"POST /v1/snapshots":            s.owner(s.postSnapshot),
		"POST /v1/backup":               s.owner(s.postBackup),
		"GET /v1/incarnation":           s.needs(wire.RightRead, s.getIncarnation),
		"POST /v1/incarnation/confirm":  s.owner(s.postIncarnation),
		"GET /v1/migrations":            s.owner(s.getMigrations),
		"GET /v1/proofs":                s.owner(s.getProofs),
		"GET /v1/held":                  s.needs(wire.RightRead, s.getHeld),
		"GET /v1/cluster":               s.needs(wire.RightRead, s.getCluster),

		"POST /v1/cluster/members":          s.joins(s.postMember),
		"DELETE /v1/cluster/members/{node}": s.owner(s.deleteMember),

		"POST /v1/cluster/recovery":             s.owner(s.postRecovery),
		"GET /v1/cluster/copies":                s.needs(wire.RightRead, s.getCopies),
		"GET /v1/cluster/copies/{entity}/chain": s.needs(wire.RightRead, s.getCopyChain),
		"GET /v1/cluster/known":                 s.needs(wire.RightRead, s.getKnown),
		"POST /v1/cluster/promotions":           s.needs(wire.RightsVoter, s.postPromotion),
		"PUT /v1/cluster/directory":             s.needs(wire.RightsVoter, s.putDirectory),

		"POST /v1/proofs":         s.owner(s.postProof),
		"GET /v1/proofs/{ref}":    s.owner(s.getProof),
		"DELETE /v1/proofs/{ref}": s.owner(s.deleteProof),

		"GET /v1/channels":                    s.ofNode(s.needs(wire.RightChannels, s.getChannels)),
		"POST /v1/channels":                   s.owner(s.postChannel),
		"GET /v1/channels/{channel}":          s.ofNode(s.permitted(identity.ScopeAdmin, s.getChannel)),
		"DELETE /v1/channels/{channel}":       s.ofNode(s.administered(s.deleteChannel)),
		"POST /v1/channels/{channel}/publish": s.ofNode(s.permitted(identity.ScopePublish, s.postPublish)),
		"GET /v1/channels/{channel}/events":   s.ofNode(s.permitted(identity.ScopeSubscribe, s.getFollow)),
		"GET /v1/revocations":                 s.needs(wire.RightChannels, s.getRevocations),
		"POST /v1/revocations":                s.owner(s.postRevocation),

		"GET /v1/daemons/{ref}/subscriptions":    s.needs(wire.RightRead, s.atOwner(s.getSubscriptions)),
		"POST /v1/daemons/{ref}/subscriptions":   s.needs(wire.RightOperate, s.namingPublisher(s.atOwner(s.postSubscription))),
		"DELETE /v1/daemons/{ref}/subscriptions": s.needs(wire.RightOperate, s.namingPublisher(s.atOwner(s.deleteSubscription))),

		"POST /v1/migrations/{ref}/resolve": s.owner(s.postResolve),

		"POST /v1/daemons/{ref}/events":  s.toGroup(s.postEvent),
		"POST /v1/daemons/{ref}/stream":  s.toGroup(s.postStream),
		"GET /v1/daemons/{ref}":          s.atOwner(s.getDaemon),
		"DELETE /v1/daemons/{ref}":       s.needs(wire.RightOperate, s.atOwner(s.deleteDaemon)),
		"GET /v1/daemons/{ref}/logs":     s.needs(wire.RightRead, s.atOwner(s.getLogs)),
		"GET /v1/daemons/{ref}/tail":     s.needs(wire.RightRead, s.atOwner(s.getTail)),
		"GET /v1/daemons/{ref}/snapshot": s.needs(wire.RightRead, s.atOwner(s.getSnapshot)),
		"GET /v1/daemons/{ref}/receipts": s.needs(wire.RightRead, s.atOwner(s.getReceipts)),

		"GET /v1/daemons/{ref}/receipts/{epoch}": s.needs(wire.RightRead, s.atOwner(s.getReceipt)),

		"GET /v1/daemons/{ref}/chain":    s.needs(wire.RightRead, s.atOwner(s.getChain)),
		"POST /v1/daemons/{ref}/stop":    s.needs(wire.RightOperate, s.atOwner(s.postStop)),
		"POST /v1/daemons/{ref}/start":   s.needs(wire.RightOperate, s.atOwner(s.postStart)),
		"POST /v1/daemons/{ref}/mend":    s.needs(wire.RightOperate, s.atOwner(s.postMend)),
		"POST /v1/daemons/{ref}/confirm": s.needs(wire.RightOperate, s.atHeld(s.postConfirm)),
		"POST /v1/daemons/{ref}/yield":   s.needs(wire.RightOperate, s.atHeld(s.postYield)),
		"POST /v1/upgrades":              s.owner(s.postRollout),
		"POST /v1/daemons/{ref}/upgrade": s.needs(wire.RightOperate, s.namingModule(s.atOwner(s.postUpgrade))),
		"POST /v1/daemons/{ref}/fork":    s.needs(wire.RightOperate, s.atOwner(s.postFork)),
		"GET /v1/daemons/{ref}/limits":   s.needs(wire.RightRead, s.atOwner(s.getDaemonLimits)),
		"PUT /v1/daemons/{ref}/limits":   s.needs(wire.RightOperate, s.atOwner(s.putDaemonLimits)),
		"GET /v1/kinds/{kind}/limits":    s.needs(wire.RightRead, s.getKindLimits),
		"PUT /v1/kinds/{kind}/limits":    s.needs(wire.RightKinds, s.putKindLimits),
		"GET /v1/limits":                 s.needs(wire.RightRead, s.getNodeLimits),

		"GET /v1/daemons/{ref}/quarantine":                s.needs(wire.RightRead, s.atOwner(s.getQuarantine)),
		"POST /v1/daemons/{ref}/quarantine/{index}/retry": s.needs(wire.RightOperate, s.atOwner(s.postRetry)),
		"DELETE /v1/daemons/{ref}/quarantine/{index}":     s.needs(wire.RightOperate, s.atOwner(s.deleteQuarantined)),

		"POST /v1/daemons/{ref}/place":   s.needs(wire.RightOperate, s.atOwner(s.postPlace)),
		"POST /v1/daemons/{ref}/migrate": s.needs(wire.RightOperate, s.naming(s.atOwner(s.postMigrate))),
	} {
		s.handle(pattern, h)
	}
	for pattern, h := range s.groupRoutes() {
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
	s.mux.HandleFunc(pattern, s.guarded(pattern, h))
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.StartBody(w, r)
	s.mux.ServeHTTP(w, r)
}

// owner refuses what comes from a peer.
func (s *Server) owner(h web.Handler) web.Handler { return s.needs(wire.RightOwner, h) }

// needs refuses peers that lack the right, here and so at each node that passes
// a request on.
func (s *Server) needs(right wire.Rights, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if from, ok := wire.PeerOf(r.Context()); ok {
			if err := s.mesh.Allow(from, right, r.Method+" "+r.URL.Path); err != nil {
				return err
			}
		}
		return s.admitted(w, r, h)
	}
}

// atOwner answers requests about a daemon that is here, and passes others to
// the node that has it.
func (s *Server) atOwner(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, at, err := s.locate(r, r.PathValue("ref"))
		if err != nil {
			return err
		}
		body, err := web.ReadAll(w, r, api.MaxJSON)
		if err != nil {
			return err
		}
		if at == s.mesh.Self() {
			r.Body = io.NopCloser(bytes.NewReader(body))
			err = h(w, web.WithEntity(r, id))
			var moved *daemon.MovedError
			if !errors.As(err, &moved) {
				return err
			}
			at = moved.Node // it went while h waited for it
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return s.pass(w, r, id, at)
	}
}

// locate finds the daemon that text names: here, by a tombstone, or by asking the peers.
// Peers that ask are not asked back. Only a request that looks finds a daemon by the
// beginning of its id.
func (s *Server) locate(r *http.Request, text string) (identity.EntityID, identity.NodeID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, 0, err
	}
	id, at, err := s.locateRef(r, ref)
	none := errors.Is(err, daemon.ErrNotFound) || errors.Is(err, mesh.ErrUnreachable)
	if !none || !query.Of(r).Is(web.ByPrefix.Name) || !daemon.CanBegin(text) {
		return id, at, err
	}
	begun, lookErr := s.lookFor(r, text)
	if errors.Is(lookErr, daemon.ErrNotFound) {
		return id, 0, err
	}
	if lookErr != nil {
		return id, 0, lookErr
	}
	return s.locateRef(r, begun)
}

// locateRef is locate of a whole reference.
func (s *Server) locateRef(r *http.Request, ref daemon.Ref) (identity.EntityID, identity.NodeID, error) {
	id, err := s.rt.Daemons().ResolveRef(ref)
	if err == nil {
		_, inspectErr := s.rt.Daemons().Inspect(id)
		var moved *daemon.MovedError
		switch {
		case inspectErr == nil, errors.Is(inspectErr, daemon.ErrComing): // a sender waits for what is coming
			return id, s.mesh.Self(), nil
		case errors.As(inspectErr, &moved):
			return id, moved.Node, nil
		}
		err = inspectErr
	}
	if !errors.Is(err, daemon.ErrNotFound) || query.Of(r).Is("local") || r.Header.Get(web.HopsHeader) != "" {
		return id, 0, err
	}
	claims, silent, unproven := s.askOwners(r.Context(), ref)
	if best, err := pick(ref.String(), claims); err != nil {
		return id, 0, err
	} else if best != nil {
		if len(silent) > 0 && !best.Follows && best.Rank < best.Epoch {
			return id, 0, fmt.Errorf("%w: node %s claims %q at epoch %d and accounts for epoch %d; who knows better may be silent: %v", daemon.ErrUnproven, best.Node, ref, best.Epoch, best.Rank, silent)
		}
		s.rt.Places().Remember(best.Proven)
		return best.entity, best.Node, nil
	}
	if unproven != nil {
		return id, 0, unproven
	}
	if len(silent) > 0 {
		return id, 0, fmt.Errorf("%w: %q is not here, and may be on a node that does not answer: %v", mesh.ErrUnreachable, ref, silent)
	}
	return id, 0, fmt.Errorf("%w: %q", daemon.ErrNotFound, ref)
}

// pass sends a request about a daemon on to another node, which proves first that it
// has it.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, id identity.EntityID, at identity.NodeID) error {
	at, err := s.proven(r.Context(), id, at)
	if err != nil {
		return err
	}
	return s.passTo(w, r, "/v1/daemons/"+id.String()+tailOf(r), at)
}

// passTo sends the request on to another node.
func (s *Server) passTo(w http.ResponseWriter, r *http.Request, path string, at identity.NodeID) error {
	hops, err := web.HopsOf(r)
	if err != nil {
		return err
	}
	if hops++; hops > web.MaxHops {
		return problem.ErrTooManyHops
	}
	proxy := &httputil.ReverseProxy{
		Transport: s.mesh.HTTPTransport(at), FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", at.String()
			p.Out.URL.Path = path
			p.Out.Header.Set(web.HopsHeader, strconv.Itoa(hops))
			web.PassTrace(p.In, p.Out)
			p.Out.Header.Del("Authorization") // what this node was told is for it alone
			p.Out.Header.Del(api.IdempotencyHeader)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, mesh.ErrUnknownNode) && !errors.Is(err, wire.ErrUntrusted) {
				err = fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, at, err)
			}
			problem.Write(w, err)
		},
	}
	proxy.ServeHTTP(w, r)
	return nil
}

// tailOf is what stands behind the daemon in the path.
func tailOf(r *http.Request) string {
	prefix := "/v1/daemons/" + r.PathValue("ref")
	if len(r.URL.Path) >= len(prefix) {
		return r.URL.Path[len(prefix):]
	}
	return ""
}

// TimeBodies bounds the time of the bodies of requests that h answers.
func TimeBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer web.TimeBody(w, r, false)()
		h.ServeHTTP(w, r)
	})
}
