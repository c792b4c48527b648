package server

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
)

// ReceiptOf says what r is.
func ReceiptOf(r *chain.Receipt) (api.Receipt, error) {
	sum, err := r.Digest()
	f, s := &r.Facts, &r.Source
	out := api.Receipt{Digest: sum.String(), Origin: f.Entity.Origin().String(), EntityID: f.Entity.String(), Kind: f.Kind, Module: hex.EncodeToString(f.Module),
		From: f.From.String(), To: f.To.String(), ToKey: r.Target.Key.String(), Epoch: f.Epoch, Sequence: f.Sequence, Applied: f.Applied, Head: f.Head.String(),
		State: hex.EncodeToString(f.State), Queued: s.Queued, Bytes: s.Bytes, Rounds: s.Rounds, DowntimeMS: ms(r.Downtime()),
		Activated: time.Unix(0, r.Target.Activated).UTC(), Whole: r.Whole()}
	if r.Whole() {
		out.FromKey, out.Started, out.Confirmed = s.Key.String(), time.Unix(0, s.Started).UTC(), time.Unix(0, s.Confirmed).UTC()
	}
	return out, err
}

func (s *Server) getReceipts(w http.ResponseWriter, r *http.Request) error {
	out, err := s.receiptsOf(entity(r))
	if err != nil {
		return err
	}
	return writePage(w, r, out, func(rec api.Receipt) string { return number(rec.Epoch) })
}

func (s *Server) receiptsOf(id identity.EntityID) ([]api.Receipt, error) {
	all, err := s.rt.Receipts(id)
	if err != nil {
		return nil, err
	}
	out := []api.Receipt{}
	for _, rec := range all {
		v, err := ReceiptOf(rec)
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
	all, err := s.rt.Receipts(entity(r))
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
	return fmt.Errorf("%w: of the move of daemon %s to epoch %d", chain.ErrNoReceipt, entity(r).Origin(), epoch)
}
