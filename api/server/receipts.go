package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
)

func (s *Server) getReceipts(w http.ResponseWriter, r *http.Request) error {
	out, err := s.receiptsOf(web.Entity(r))
	if err != nil {
		return err
	}
	return web.WritePage(w, r, out, func(rec api.Receipt) string { return web.Number(rec.Epoch) })
}

func (s *Server) receiptsOf(id identity.EntityID) ([]api.Receipt, error) {
	all, err := s.rt.Evidence().Receipts(id)
	if err != nil {
		return nil, err
	}
	out := []api.Receipt{}
	for _, rec := range all {
		v, err := convert.ReceiptOf(rec)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Server) getReceipt(w http.ResponseWriter, r *http.Request) error {
	epoch, err := query.ParseNumber(r.PathValue("epoch"))
	if err != nil {
		return fmt.Errorf("%w: epoch %q", api.ErrBadRequest, r.PathValue("epoch"))
	}
	all, err := s.rt.Evidence().Receipts(web.Entity(r))
	if err != nil {
		return err
	}
	for _, rec := range all {
		if rec.Facts.Epoch == epoch {
			b, err := rec.Encode()
			if err != nil {
				return err
			}
			w.Header().Set("Content-Type", "application/cbor")
			_, _ = w.Write(b) // the client is gone if this fails
			return nil
		}
	}
	return fmt.Errorf("%w: of the move of daemon %s to epoch %d", chain.ErrNoReceipt, web.Entity(r).Origin(), epoch)
}
