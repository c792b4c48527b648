package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/host/chain"
)

// MendedOf says what a mending did.
func MendedOf(m chain.Mended) api.Mended {
	out := api.Mended{How: m.How.String(), Count: m.Count, Sequence: m.Sequence, After: m.After, Epoch: m.Epoch}
	if m.Sequence > 0 {
		out.Head = m.Head.String()
	}
	return out
}

func (s *Server) postMend(w http.ResponseWriter, r *http.Request) error {
	var req api.Mend
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	for _, how := range []chain.Mend{chain.MendRetry, chain.MendSkip, chain.MendRollback} {
		if how.String() == req.How {
			fact, err := s.rt.MendDaemon(r.Context(), entity(r), how)
			if err != nil {
				return err
			}
			return writeJSON(w, MendedOf(fact))
		}
	}
	return fmt.Errorf("%w: how is %q, not retry, skip or rollback", api.ErrBadRequest, req.How)
}
