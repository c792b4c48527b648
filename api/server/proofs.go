package server

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
)

func (s *Server) getProofs(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	out := []api.Accusation{}
	for _, a := range s.rt.Evidence().Accusations() {
		out = append(out, convert.AccusationOf(a))
	}
	key := func(a api.Accusation) string { return web.Ordered(a.Recorded) + a.EntityID }
	slices.SortFunc(out, func(a, b api.Accusation) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

func (s *Server) postProof(w http.ResponseWriter, r *http.Request) error {
	b, err := web.ReadAll(w, r, chain.MaxProof+1024)
	if err != nil {
		return err
	}
	proof, err := chain.ReadEquivocation(bytes.NewReader(b))
	if err != nil {
		return err
	}
	a, err := s.rt.Evidence().Accuse(r.Context(), proof)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.AccusationOf(a))
}

func (s *Server) getProof(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("ref")
	id, err := s.rt.Evidence().Find(text)
	if errors.Is(err, daemon.ErrNotAccused) && query.Of(r).Is(web.ByPrefix.Name) {
		id, err = s.rt.Evidence().BegunBy(text)
	}
	if err != nil {
		return err
	}
	proof, err := s.rt.Evidence().Proof(id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = proof.WriteTo(w) // the client sees a cut stream if this fails
	return nil
}

func (s *Server) deleteProof(w http.ResponseWriter, r *http.Request) error {
	id, err := s.rt.Evidence().Find(r.PathValue("ref"))
	if err != nil {
		return err
	}
	a, err := s.rt.Evidence().Pardon(r.Context(), id)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.AccusationOf(a))
}
