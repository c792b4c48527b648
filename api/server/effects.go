package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// entityNamed returns the entity that a whole reference names: an entity id names one
// that need not exist yet, a name or origin the daemon that has it now.
func (s *Server) entityNamed(r *http.Request, text string) (identity.EntityID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, err
	}
	if id, ok := ref.Entity(); ok {
		return id, nil
	}
	id, _, err := s.find.LocateRef(r, ref)
	return id, err
}

// grantsOf are what the request names, as this node knows nodes and daemons.
func (s *Server) grantsOf(r *http.Request, req api.Grants) (g effect.Grants, err error) {
	for _, p := range req.MayPublish {
		node := s.mesh.Self()
		if p.Node != "" {
			if node, err = s.mesh.FindNode(p.Node); err != nil {
				return g, err
			}
		}
		g.Publish = append(g.Publish, effect.PublishGrant{Node: node, Pattern: p.Pattern, Token: p.Token})
	}
	for _, ref := range req.MaySend {
		if ref == "*" {
			g.SendAny = true
			continue
		}
		id, err := s.entityNamed(r, ref)
		if err != nil {
			return g, fmt.Errorf("whom it may send to: %w", err)
		}
		g.Send = append(g.Send, id)
	}
	return g, g.Check()
}

// namingGrants has the names in a change of grants mean what they mean here, where the
// client asks: a daemon's name the daemon that has it now.
func (s *Server) namingGrants(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req api.ChangeGrants
		if err := web.ReadJSON(w, r, &req); err != nil {
			return err
		}
		if _, byPeer := wire.PeerOf(r.Context()); byPeer {
			return passJSON(h, w, r, req) // they are ids
		}
		for _, g := range []*api.Grants{&req.Grant, &req.Revoke} {
			known, err := s.grantsOf(r, *g)
			if err != nil {
				return err
			}
			*g = convert.GrantsOf(known, true)
		}
		return passJSON(h, w, r, req)
	}
}

// passJSON has h answer the request with another body.
func passJSON(h web.Handler, w http.ResponseWriter, r *http.Request, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return h(w, r)
}

func (s *Server) changeOfGrants(w http.ResponseWriter, r *http.Request) (added, revoked effect.Grants, err error) {
	var req api.ChangeGrants
	if err := web.ReadJSON(w, r, &req); err != nil {
		return added, revoked, err
	}
	if added, err = s.grantsOf(r, req.Grant); err != nil {
		return added, revoked, err
	}
	revoked, err = s.grantsOf(r, req.Revoke)
	return added, revoked, err
}

func (s *Server) postGrants(w http.ResponseWriter, r *http.Request) error {
	added, revoked, err := s.changeOfGrants(w, r)
	if err != nil {
		return err
	}
	now, err := s.rt.Daemons().Regrant(r.Context(), web.Entity(r), added, revoked)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.GrantsOf(now, false))
}

func (s *Server) getGrants(w http.ResponseWriter, r *http.Request) error {
	e, err := s.rt.Daemons().Effects(web.Entity(r))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.GrantsOf(e.Grants, false))
}

// planGrants is the plan of postGrants.
func (s *Server) planGrants(w http.ResponseWriter, r *http.Request) (p api.Plan, err error) {
	added, revoked, err := s.changeOfGrants(w, r)
	if err != nil {
		return p, err
	}
	e, err := s.rt.Daemons().Effects(web.Entity(r))
	if err != nil {
		return p, err
	}
	now := e.Grants.With(added, revoked)
	if err := now.Check(); err != nil {
		return p, err
	}
	p, err = s.planDaemon(w, r)
	if now.Equal(&e.Grants) {
		p.Notes = append(p.Notes, "nothing would change")
	}
	return p, err
}
