package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

func (s *Server) postFork(w http.ResponseWriter, r *http.Request) error {
	var req api.Fork
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	own, err := daemon.LimitsOf(req.Limits)
	if err != nil {
		return err
	}
	if req.At != nil && req.LastGood {
		return fmt.Errorf("%w: give either at or last_good", api.ErrBadRequest)
	}
	if req.Count < 0 || req.Count > host.MaxForks {
		return fmt.Errorf("%w: %d forks, at most %d at a time", api.ErrBadRequest, req.Count, host.MaxForks)
	}
	forks, err := s.rt.Fork(r.Context(), web.Entity(r), host.ForkRequest{At: req.At, LastGood: req.LastGood, Count: req.Count, Name: req.Name, Limits: own})
	if err != nil {
		return err
	}
	out := []api.Daemon{}
	for k := range forks {
		d := convert.DaemonOf(forks[k].Info)
		d.Fork = convert.ForkOfRecord(&forks[k].Record)
		out = append(out, d)
	}
	return web.WriteJSON(w, out)
}
