package server

import (
	"fmt"
	"net/http"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// effectsOf is nil where there is nothing to be shown.
func effectsOf(e daemon.Effects) *api.Effects {
	if e.Grants.IsZero() && len(e.Pending) == 0 && len(e.Timers) == 0 && e.PassedOver == 0 && e.Lost == 0 {
		return nil
	}
	out := &api.Effects{PassedOver: e.PassedOver, Lost: e.Lost}
	for _, g := range e.Grants.Publish {
		out.MayPublish = append(out.MayPublish, api.MayPublish{Node: g.Node.String(), Pattern: g.Pattern})
	}
	if e.Grants.SendAny {
		out.MaySend = append(out.MaySend, "*")
	}
	for _, id := range e.Grants.Send {
		out.MaySend = append(out.MaySend, id.String())
	}
	for _, p := range e.Pending {
		line := api.Pending{Channel: p.Place.Channel, Events: p.Events, Bytes: p.Bytes, Reason: p.Reason}
		if p.Place.Channel == "" {
			line.Daemon = p.Place.To.String()
		} else {
			line.Node = p.Place.Node.String()
		}
		out.Pending = append(out.Pending, line)
	}
	for _, t := range e.Timers {
		out.Timers = append(out.Timers, api.Timer{Number: t.ID, At: time.Unix(0, t.At).UTC(), Bytes: int64(len(t.Payload))})
	}
	return out
}

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
	id, _, err := s.locateRef(r, ref)
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
