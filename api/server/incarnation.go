package server

import (
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/host"
)

func incarnationOf(in host.Incarnation) api.Incarnation {
	if in.Number == 0 {
		return api.Incarnation{Confirmed: in.Confirmed}
	}
	return api.Incarnation{Number: in.Number, Backup: in.Backup, Taken: in.Taken.UTC(), Restored: in.Restored.UTC(), Confirmed: in.Confirmed}
}

func (s *Server) getIncarnation(w http.ResponseWriter, _ *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	return writeJSON(w, incarnationOf(s.rt.Incarnation()))
}

func (s *Server) postIncarnation(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.ConfirmNode(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, incarnationOf(s.rt.Incarnation()))
}
