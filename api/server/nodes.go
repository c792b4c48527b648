package server

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

func (s *Server) getNodes(w http.ResponseWriter, r *http.Request) error {
	peers, err := s.mesh.Peers()
	if err != nil {
		return err
	}
	out := []api.Node{s.nodes.Self()}
	for _, p := range peers {
		out = append(out, convert.PeerOf(p))
	}
	key := func(n api.Node) string { // the node itself is the first
		if n.Self {
			return ""
		}
		return n.NodeID
	}
	slices.SortFunc(out, func(a, b api.Node) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

func (s *Server) getNodeOf(w http.ResponseWriter, r *http.Request) error {
	find := s.mesh.FindNode
	if query.Of(r).Is(web.ByPrefix.Name) {
		find = s.mesh.LookForNode
	}
	id, err := find(r.PathValue("node"))
	if err != nil {
		return err
	}
	if id == s.mesh.Self() {
		n := s.nodes.Self()
		n.Capabilities = s.nodes.Capabilities()
		return web.WriteJSON(w, n)
	}
	p, err := s.mesh.FindPeer(id.String())
	if err != nil {
		return err
	}
	n := convert.PeerOf(p)
	if n.Capabilities, err = s.nodes.Ask(r.Context(), id, ""); err != nil {
		s.logger.Debug("a peer does not announce anything", "peer", id, "error", err)
	}
	n.Online = n.Online || err == nil
	return web.WriteJSON(w, n)
}

func (s *Server) postJoin(w http.ResponseWriter, r *http.Request) error {
	var t api.Token
	if err := web.ReadJSON(w, r, &t); err != nil {
		return err
	}
	grants := trust.RightsAll
	if query.Of(r).Has("rights") {
		var err error
		if grants, err = rightsOf(r); err != nil {
			return err
		}
		if grants&^trust.RightsAll != 0 {
			return fmt.Errorf("%w: the right join is granted to nodes that are to come, not to the one that is joined", api.ErrBadRequest)
		}
	}
	id, err := s.mesh.JoinWith(r.Context(), t.Token, grants)
	if err != nil {
		return err
	}
	p, err := s.mesh.FindPeer(id.String())
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.PeerOf(p))
}

// maxTokenTTL bounds for how long a join token is good.
const maxTokenTTL = 7 * 24 * time.Hour

func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	ttl := time.Hour
	if q := query.Of(r).Text("ttl"); q != "" {
		var err error
		if ttl, err = time.ParseDuration(q); err != nil || ttl <= 0 || ttl > maxTokenTTL {
			return fmt.Errorf("%w: ttl %q is not a duration between 0 and %v", api.ErrBadRequest, q, maxTokenTTL)
		}
	}
	rights, err := rightsOf(r)
	if err != nil {
		return err
	}
	token, err := s.mesh.Token(ttl, rights)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, api.Token{Token: token, Expires: time.Now().Add(ttl).UTC()})
}

// rightsOf are the rights that the request names. There is no default.
func rightsOf(r *http.Request) (trust.Rights, error) {
	rights, err := trust.ParseRights(query.Of(r).Text("rights"))
	if err != nil {
		return 0, fmt.Errorf("%w: the parameter %q: %w", api.ErrBadRequest, "rights", err)
	}
	return rights, nil
}

func (s *Server) putRights(w http.ResponseWriter, r *http.Request) error {
	p, err := s.mesh.FindPeer(r.PathValue("node"))
	if err != nil {
		return err
	}
	rights, err := rightsOf(r)
	if err != nil {
		return err
	}
	if err := s.mesh.Grant(p.Key, rights); err != nil {
		return err
	}
	p.Rights = rights
	return web.WriteJSON(w, convert.PeerOf(p))
}

func (s *Server) deleteTrust(w http.ResponseWriter, r *http.Request) error {
	p, err := s.mesh.FindPeer(r.PathValue("node"))
	if err != nil {
		return err
	}
	if err := s.mesh.Forget(p.Key); err != nil {
		return err
	}
	p.Connected, p.Rights = false, 0
	return web.WriteJSON(w, convert.PeerOf(p))
}

func (s *Server) getKinds(w http.ResponseWriter, r *http.Request) error {
	out := []api.Kind{}
	for _, k := range s.rt.Kinds().List() {
		out = append(out, convert.KindOf(k, false))
	}
	if err := s.rt.Ready(); err != nil {
		return err
	}
	return web.WritePage(w, r, out, func(k api.Kind) string { return k.Name })
}

func (s *Server) getKind(w http.ResponseWriter, r *http.Request) error {
	k, err := s.rt.Kinds().Get(r.PathValue("kind"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.KindOf(k, true))
}

func (s *Server) putKind(w http.ResponseWriter, r *http.Request) error {
	wasm, err := web.ReadAll(w, r, maxModule)
	if err != nil {
		return err
	}
	var own *daemon.Limits
	if texts := query.Of(r).All("limit"); len(texts) > 0 {
		l, err := daemon.ParseLimits(texts)
		if err != nil {
			return err
		}
		own = &l
	}
	var signatures []registry.ModuleSignature
	for _, text := range r.Header.Values(api.SignatureHeader) {
		sig, err := registry.ParseModuleSignature(text)
		if err != nil {
			return err
		}
		signatures = append(signatures, sig)
	}
	k, err := s.rt.Kinds().PushSigned(r.Context(), r.PathValue("kind"), wasm, own, signatures)
	if err != nil {
		return err
	}
	out := convert.KindOf(k, true)
	if out.Nodes, err = s.pushOn(r, wasm); err != nil {
		return err
	}
	return web.WriteJSON(w, out)
}

// pushTargets are the nodes to which a kind is to be pushed on.
func (s *Server) pushTargets(r *http.Request) (to []wire.PeerInfo, err error) {
	for _, ref := range query.Of(r).All("to") {
		if _, byPeer := wire.PeerOf(r.Context()); byPeer {
			return nil, fmt.Errorf("%w: a peer pushes to this node alone", api.ErrBadRequest)
		}
		if ref == "all" {
			peers, err := s.mesh.Peers()
			if err != nil {
				return nil, err
			}
			to = append(to, peers...)
			continue
		}
		p, err := s.mesh.FindPeer(ref)
		if err != nil {
			return nil, err
		}
		to = append(to, p)
	}
	return to, nil
}

// pushOn pushes a kind that this node has taken to the nodes that the request names
// with to=NODE, or to=all. What a node says against it is in the answer.
func (s *Server) pushOn(r *http.Request, wasm []byte) ([]api.PushedTo, error) {
	to, err := s.pushTargets(r)
	if err != nil {
		return nil, err
	}
	out := make([]api.PushedTo, len(to))
	var wg sync.WaitGroup
	for i, p := range to {
		wg.Go(func() {
			out[i] = api.PushedTo{NodeID: p.ID.String(), Name: p.Name}
			if _, err := s.nodes.Ask(r.Context(), p.ID, ""); err != nil { // known sooner than of a large upload
				out[i].Error = problem.Of(err)
				return
			}
			if _, err := locate.PeerClient(s.mesh, p.ID).Kinds().PushTo(r.Context(), r.PathValue("kind"), bytes.NewReader(wasm), client.PushTo{Limits: query.Of(r).All("limit"), Signatures: r.Header.Values(api.SignatureHeader)}); err != nil {
				out[i].Error = problem.Of(err)
			}
		})
	}
	wg.Wait()
	return out, nil
}

func (s *Server) deleteKind(w http.ResponseWriter, r *http.Request) error {
	k, err := s.rt.Kinds().Get(r.PathValue("kind"))
	if err == nil {
		err = s.rt.Kinds().Remove(r.Context(), k.Name)
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.KindOf(k, false))
}

func (s *Server) getModule(w http.ResponseWriter, r *http.Request) error {
	k, err := s.rt.Kinds().Get(r.PathValue("kind"))
	if err != nil {
		return err
	}
	named := k.Digest
	if text := query.Of(r).Text("digest"); text != "" {
		named = text
	}
	if named == "" {
		return fmt.Errorf("%w: kind %q is native", daemon.ErrModuleNotFound, k.Name)
	}
	digest, err := s.rt.Kinds().ModuleNamed(k.Name, named)
	if err != nil {
		return err
	}
	wasm, err := s.rt.Kinds().Module(r.Context(), digest)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/wasm")
	_, _ = w.Write(wasm) // the client is gone if this fails
	return nil
}
