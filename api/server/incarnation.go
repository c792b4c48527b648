package server

import (
	"net/http"

	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
)

func (s *Server) getIncarnation(w http.ResponseWriter, _ *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	return web.WriteJSON(w, convert.IncarnationOf(s.rt.Unconfirmed().Incarnation()))
}

func (s *Server) postIncarnation(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Unconfirmed().ConfirmNode(r.Context()); err != nil {
		return err
	}
	return web.WriteJSON(w, convert.IncarnationOf(s.rt.Unconfirmed().Incarnation()))
}
