package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/chain"
)

func (s *Server) postMend(w http.ResponseWriter, r *http.Request) error {
	var req api.Mend
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	for _, how := range []chain.Mend{chain.MendRetry, chain.MendSkip, chain.MendRollback} {
		if how.String() == req.How {
			fact, err := s.rt.MendDaemon(r.Context(), web.Entity(r), how)
			if err != nil {
				return err
			}
			return web.WriteJSON(w, convert.MendedOf(fact))
		}
	}
	return fmt.Errorf("%w: how is %q, not retry, skip or rollback", api.ErrBadRequest, req.How)
}
