package server

import (
	"context"
	"errors"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

func (s *Server) getHeld(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	out := []api.Held{}
	for _, h := range s.rt.Unconfirmed().List() {
		out = append(out, convert.HeldOf(&h))
	}
	return web.WritePage(w, r, out, func(h api.Held) string { return h.Name + "/" + h.EntityID })
}

// atHeld runs h on this node where the daemon is held here, and else on the daemon's
// node: the node that goes further has it too.
func (s *Server) atHeld(h web.Handler) web.Handler {
	elsewhere := s.find.AtOwner(h)
	return func(w http.ResponseWriter, r *http.Request) error {
		ref, err := daemon.ParseRef(r.PathValue("ref"))
		if err != nil {
			return err
		}
		for _, held := range s.rt.Unconfirmed().List() {
			if ref.Names(held.Entity, held.Name) {
				return h(w, web.WithEntity(r, held.Entity))
			}
		}
		return elsewhere(w, r)
	}
}

func (s *Server) postConfirm(w http.ResponseWriter, r *http.Request) error {
	return decide(w, r, s.rt.Unconfirmed().Confirm)
}

func (s *Server) postYield(w http.ResponseWriter, r *http.Request) error {
	return decide(w, r, s.rt.Unconfirmed().Yield)
}

func decide(w http.ResponseWriter, r *http.Request, by func(context.Context, identity.EntityID) (chain.Mended, error)) error {
	fact, err := by(r.Context(), web.Entity(r))
	if moved := new(daemon.MovedError); errors.As(err, &moved) {
		return daemon.ErrNotHeld // another node has it, and nothing is held here
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.MendedOf(fact))
}
