package server

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
)

// ConflictOf says what c says.
func ConflictOf(c chain.Conflict) api.Conflict {
	return api.Conflict{Origin: c.Entity.Origin().String(), EntityID: c.Entity.String(), Epoch: c.Epoch, Sequence: c.Sequence,
		Hashes: [2]string{c.Hashes[0].String(), c.Hashes[1].String()}, Handover: c.Handover}
}

func accusationOf(a daemon.Accusation) api.Accusation {
	out := api.Accusation{Conflict: ConflictOf(a.Conflict), Recorded: a.Recorded, Found: a.Found}
	if !a.Pardoned.IsZero() {
		out.Pardoned = &a.Pardoned
	}
	return out
}

func (s *Server) getProofs(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	out := []api.Accusation{}
	for _, a := range s.rt.Accusations() {
		out = append(out, accusationOf(a))
	}
	key := func(a api.Accusation) string { return ordered(a.Recorded) + a.EntityID }
	slices.SortFunc(out, func(a, b api.Accusation) int { return strings.Compare(key(a), key(b)) })
	return writePage(w, r, out, key)
}

func (s *Server) postProof(w http.ResponseWriter, r *http.Request) error {
	b, err := readAll(w, r, chain.MaxProof+1024)
	if err != nil {
		return err
	}
	proof, err := chain.ReadEquivocation(bytes.NewReader(b))
	if err != nil {
		return err
	}
	a, err := s.rt.Accuse(r.Context(), proof)
	if err != nil {
		return err
	}
	return writeJSON(w, accusationOf(a))
}

func (s *Server) getProof(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("ref")
	id, err := s.rt.FindAccused(text)
	if errors.Is(err, daemon.ErrNotAccused) && query.Of(r).Is(byPrefix.Name) {
		id, err = s.rt.AccusedBegunBy(text)
	}
	if err != nil {
		return err
	}
	proof, err := s.rt.Proof(id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = proof.WriteTo(w) // the client sees a cut stream if this fails
	return nil
}

func (s *Server) deleteProof(w http.ResponseWriter, r *http.Request) error {
	id, err := s.rt.FindAccused(r.PathValue("ref"))
	if err != nil {
		return err
	}
	a, err := s.rt.Pardon(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, accusationOf(a))
}
