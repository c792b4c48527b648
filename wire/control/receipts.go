package control

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"wasmhost/host/chain"
	"wasmhost/identity"
)

// Receipt is what both hosts of a migration say of it.
type Receipt struct {
	Digest     string    `json:"digest"` // SHA-256 of the receipt's bytes
	Origin     string    `json:"origin"`
	EntityID   string    `json:"entity_id"`
	Kind       string    `json:"kind"`
	Module     string    `json:"module"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	FromKey    string    `json:"from_key,omitempty"`
	ToKey      string    `json:"to_key"`
	Epoch      uint64    `json:"epoch"`
	Sequence   uint64    `json:"sequence"`
	Applied    uint64    `json:"events_applied"`
	Head       string    `json:"head"`
	State      string    `json:"state,omitempty"` // the hash of the memory
	Queued     uint64    `json:"queued"`
	Bytes      uint64    `json:"bytes"`
	Rounds     uint64    `json:"rounds"` // of the migration, the first and the pause among them; 0: a restart came between
	DowntimeMS float64   `json:"downtime_ms"`
	Started    time.Time `json:"started"`
	Activated  time.Time `json:"activated"`
	Confirmed  time.Time `json:"confirmed"`
	Whole      bool      `json:"whole"` // signed by both; else by the target only
}

// ReceiptOf says what r is.
func ReceiptOf(r *chain.Receipt) (Receipt, error) {
	sum, err := r.Digest()
	f, s := &r.Facts, &r.Source
	out := Receipt{Digest: sum.String(), Origin: f.Entity.Origin().String(), EntityID: f.Entity.String(), Kind: f.Kind, Module: hex.EncodeToString(f.Module),
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
	return writePage(w, r, out, func(rec Receipt) string { return number(rec.Epoch) })
}

func (s *Server) receiptsOf(id identity.EntityID) ([]Receipt, error) {
	all, err := s.rt.Receipts(id)
	if err != nil {
		return nil, err
	}
	out := []Receipt{}
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
	epoch, err := parseNumber(r.PathValue("epoch"))
	if err != nil {
		return fmt.Errorf("%w: epoch %q", errBadRequest, r.PathValue("epoch"))
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

// Receipts returns those of the daemon's moves, by epoch.
func (c *Client) Receipts(ctx context.Context, ref string) (out []Receipt, err error) {
	res, err := c.do(ctx, "GET", daemonPath(ref, "/receipts"), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	return out, c.answer(res).decode(ctx, &out)
}

// Receipt returns the bytes of the receipt of the daemon's move to an epoch.
func (c *Client) Receipt(ctx context.Context, ref string, epoch uint64) ([]byte, error) {
	res, err := c.do(ctx, "GET", daemonPath(ref, "/receipts/"+strconv.FormatUint(epoch, 10)), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	return io.ReadAll(io.LimitReader(res, 1<<20))
}
