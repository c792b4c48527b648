package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
)

func (s *Server) postUpgrade(w http.ResponseWriter, r *http.Request) error {
	var req api.Upgrade
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	id := web.Entity(r)
	if req.Rollback {
		if req.To != "" {
			return fmt.Errorf("%w: a rollback goes to the module before: name none", api.ErrBadRequest)
		}
		i, err := s.rt.RollBack(r.Context(), id)
		if err != nil {
			return err
		}
		return web.WriteJSON(w, convert.DaemonOf(i))
	}
	now, err := s.rt.Daemons().Inspect(id)
	if err != nil {
		return err
	}
	digest, err := s.rt.Kinds().ModuleNamed(now.Kind, req.To)
	if errors.Is(err, daemon.ErrModuleNotFound) && web.HexInto(digest[:], req.To) == nil {
		err = s.takeModule(r.Context(), now.Kind, digest)
	}
	if err != nil {
		return err
	}
	if now.Module == hex.EncodeToString(digest[:]) { // it is of the module already
		return web.WriteJSON(w, convert.DaemonOf(now))
	}
	i, err := s.rt.Upgrade(r.Context(), id, digest)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.DaemonOf(i))
}

func (s *Server) getQuarantine(w http.ResponseWriter, r *http.Request) error {
	list, err := s.rt.Quarantine().List(r.Context(), web.Entity(r))
	if err != nil {
		return err
	}
	out := make([]api.Quarantined, 0, len(list))
	for _, q := range list {
		out = append(out, convert.QuarantinedOf(q))
	}
	return web.WritePage(w, r, out, func(q api.Quarantined) string { return web.Number(q.Index) })
}

func index(r *http.Request) (uint64, error) {
	n, err := query.ParseNumber(r.PathValue("index"))
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no index", api.ErrBadRequest, r.PathValue("index"))
	}
	return n, nil
}

func (s *Server) postRetry(w http.ResponseWriter, r *http.Request) error {
	n, err := index(r)
	if err != nil {
		return err
	}
	res, err := s.rt.Quarantine().Retry(r.Context(), web.Entity(r), n)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.SentOf(res))
}

func (s *Server) deleteQuarantined(w http.ResponseWriter, r *http.Request) error {
	n, err := index(r)
	if err != nil {
		return err
	}
	if err := s.rt.Quarantine().Skip(r.Context(), web.Entity(r), n); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// NotQuarantined is the error of a failed event that is not there.
func NotQuarantined(ref string, index uint64) error {
	return fmt.Errorf("%w: %d, of daemon %s", daemon.ErrNotQuarantined, index, ref)
}
