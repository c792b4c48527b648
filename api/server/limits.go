package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/registry"
)

func (s *Server) getNodeLimits(w http.ResponseWriter, _ *http.Request) error {
	return web.WriteJSON(w, api.NodeLimits{Limits: s.rt.Node().Limits().Map()})
}

func (s *Server) getDaemonLimits(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Daemons().Inspect(web.Entity(r))
	if err != nil {
		return err
	}
	does, err := s.rt.Daemons().Effects(web.Entity(r))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.LimitsOf(i, convert.UsedOf(i, does)))
}

func (s *Server) putDaemonLimits(w http.ResponseWriter, r *http.Request) error {
	var req api.SetLimits
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := checkSetLimits(&req); err != nil {
		return err
	}
	i, err := s.rt.Daemons().SetLimits(r.Context(), web.Entity(r), req.Limits)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.LimitsOf(i, nil))
}

func checkSetLimits(s *api.SetLimits) error {
	if len(s.Limits) == 0 {
		return fmt.Errorf("%w: no limit is named", api.ErrBadRequest)
	}
	return nil
}

func (s *Server) getKindLimits(w http.ResponseWriter, r *http.Request) error {
	k, err := s.rt.Kinds().Get(r.PathValue("kind"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.kindLimitsOf(k))
}

func (s *Server) kindLimitsOf(k registry.KindInfo) api.KindLimits {
	return api.KindLimits{Name: k.Name, Limits: k.Limits.Over(s.rt.Node().Limits()).Map(), Own: k.Limits.Map()}
}

func (s *Server) putKindLimits(w http.ResponseWriter, r *http.Request) error {
	var req api.SetLimits
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := checkSetLimits(&req); err != nil {
		return err
	}
	set, err := s.rt.Kinds().SetLimits(r.Context(), r.PathValue("kind"), req.Limits)
	if err != nil {
		return err
	}
	out := s.kindLimitsOf(set.Kind)
	out.Changed = set.Changed
	for _, d := range set.Kept {
		kept := api.DaemonKeepsThem{Name: d.Name, EntityID: d.Entity.String()}
		if d.Why != nil {
			kept.Error = problem.Of(d.Why)
		}
		out.Kept = append(out.Kept, kept)
	}
	return web.WriteJSON(w, out)
}
