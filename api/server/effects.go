package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
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

// grants are what a daemon that is to be spawned may do.
func (s *Server) grants(r *http.Request, req *api.Spawn) (g effect.Grants, err error) {
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
