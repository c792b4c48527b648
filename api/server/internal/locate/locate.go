// Package locate finds what a request names: daemons, here or at the peers that may have
// them, on proof; and nodes that a daemon could be placed on, by what they announce. A request
// about a daemon that is elsewhere is passed on.
package locate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strconv"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// residence is what a node knows of where daemons are, and what it believes of others.
type residence interface {
	Believe(ctx context.Context, id identity.EntityID, at, by identity.NodeID) (host.Proven, error)
}

// daemons are those that a node has.
type daemons interface {
	ResolveRef(daemon.Ref) (identity.EntityID, error)
	BegunBy(text string) ([]identity.EntityID, error)
	Inspect(identity.EntityID) (daemon.Info, error)
}

// places is what a node takes for true of where daemons are.
type places interface {
	Weigh(ctx context.Context, id identity.EntityID, at, by identity.NodeID) (host.Proven, error)
	Remember(host.Proven)
}

// Finder finds the daemons that requests name, here and at the peers, and passes requests on
// to where they are. It is safe for concurrent use.
type Finder struct {
	rt     residence
	here   daemons
	places places
	mesh   *wire.Mesh
	logger *slog.Logger
}

// NewFinder makes a finder of the node of mesh.
func NewFinder(rt residence, here daemons, places places, mesh *wire.Mesh, logger *slog.Logger) *Finder {
	return &Finder{rt: rt, here: here, places: places, mesh: mesh, logger: logger}
}

// AtOwner answers requests about a daemon that is here, and passes others to
// the node that has it.
func (f *Finder) AtOwner(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, at, err := f.Locate(r, r.PathValue("ref"))
		if err != nil {
			return err
		}
		body, err := web.ReadAll(w, r, api.MaxJSON)
		if err != nil {
			return err
		}
		if at == f.mesh.Self() {
			r.Body = io.NopCloser(bytes.NewReader(body))
			err = h(w, web.WithEntity(r, id))
			var moved *daemon.MovedError
			if !errors.As(err, &moved) {
				return err
			}
			at = moved.Node // it went while h waited for it
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return f.pass(w, r, id, at)
	}
}

// Locate finds the daemon that text names: here, by a tombstone, or by asking the peers.
// Peers that ask are not asked back. Only a request that looks finds a daemon by the
// beginning of its id.
func (f *Finder) Locate(r *http.Request, text string) (identity.EntityID, identity.NodeID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, 0, err
	}
	id, at, err := f.LocateRef(r, ref)
	none := errors.Is(err, daemon.ErrNotFound) || errors.Is(err, mesh.ErrUnreachable)
	if !none || !query.Of(r).Is(web.ByPrefix.Name) || !daemon.CanBegin(text) {
		return id, at, err
	}
	begun, lookErr := f.lookFor(r, text)
	if errors.Is(lookErr, daemon.ErrNotFound) {
		return id, 0, err
	}
	if lookErr != nil {
		return id, 0, lookErr
	}
	return f.LocateRef(r, begun)
}

// LocateRef is locate of a whole reference.
func (f *Finder) LocateRef(r *http.Request, ref daemon.Ref) (identity.EntityID, identity.NodeID, error) {
	id, err := f.here.ResolveRef(ref)
	if err == nil {
		_, inspectErr := f.here.Inspect(id)
		var moved *daemon.MovedError
		switch {
		case inspectErr == nil, errors.Is(inspectErr, daemon.ErrComing): // a sender waits for what is coming
			return id, f.mesh.Self(), nil
		case errors.As(inspectErr, &moved):
			return id, moved.Node, nil
		}
		err = inspectErr
	}
	if !errors.Is(err, daemon.ErrNotFound) || query.Of(r).Is("local") || r.Header.Get(web.HopsHeader) != "" {
		return id, 0, err
	}
	claims, silent, unproven := f.AskOwners(r.Context(), ref)
	if best, err := pick(ref.String(), claims); err != nil {
		return id, 0, err
	} else if best != nil {
		if len(silent) > 0 && !best.Follows && best.Rank < best.Epoch {
			return id, 0, fmt.Errorf("%w: node %s claims %q at epoch %d and accounts for epoch %d; who knows better may be silent: %v", daemon.ErrUnproven, best.Node, ref, best.Epoch, best.Rank, silent)
		}
		f.places.Remember(best.Proven)
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
func (f *Finder) pass(w http.ResponseWriter, r *http.Request, id identity.EntityID, at identity.NodeID) error {
	at, err := f.Proven(r.Context(), id, at)
	if err != nil {
		return err
	}
	return f.PassTo(w, r, "/v1/daemons/"+id.String()+tailOf(r), at)
}

// PassTo sends the request on to another node.
func (f *Finder) PassTo(w http.ResponseWriter, r *http.Request, path string, at identity.NodeID) error {
	hops, err := web.HopsOf(r)
	if err != nil {
		return err
	}
	if hops++; hops > web.MaxHops {
		return problem.ErrTooManyHops
	}
	proxy := &httputil.ReverseProxy{
		Transport: f.mesh.HTTPTransport(at), FlushInterval: -1,
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

// Target is the node that a migration names, as seen from here.
func (f *Finder) Target(ref string) (identity.NodeID, error) {
	if ref == "" {
		return 0, fmt.Errorf("%w: a migration needs a target node", api.ErrBadRequest)
	}
	id, err := f.mesh.FindNode(ref)
	if errors.Is(err, mesh.ErrUnknownNode) {
		err = fmt.Errorf("%w, as seen from node %s", err, f.mesh.Self())
	}
	return id, err
}
