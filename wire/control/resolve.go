package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"wasmhost/host"
	"wasmhost/identity"
)

// Unsettled is a migration whose other side has not been heard.
type Unsettled struct {
	Name     string `json:"name"`
	Origin   string `json:"origin"`
	EntityID string `json:"entity_id"`
	Peer     string `json:"peer"`
	Role     string `json:"role"` // source or target
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

// Resolve asks for such a migration to be settled without the other side: How is
// take-back, claim or drop.
type Resolve struct {
	How      string `json:"how"`
	Identity []byte `json:"identity,omitempty"` // with claim: the seed of the daemon's key
}

func (s *Server) getUnsettled(w http.ResponseWriter, _ *http.Request) error {
	out := []Unsettled{}
	for _, u := range s.rt.UnsettledMigrations() {
		role := "target"
		if u.Outgoing {
			role = "source"
		}
		out = append(out, Unsettled{Name: u.Name, Origin: u.Entity.Origin().String(), EntityID: u.Entity.String(), Peer: u.Peer.String(), Role: role,
			Epoch: u.Epoch, Sequence: u.Sequence})
	}
	return writeJSON(w, out)
}

func (s *Server) postResolve(w http.ResponseWriter, r *http.Request) error {
	var req Resolve
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	id, err := s.rt.Resolve(r.PathValue("ref"))
	if err != nil {
		return err
	}
	var key *identity.KeyPair
	if len(req.Identity) > 0 {
		if key, err = identity.FromSeed(req.Identity); err != nil {
			return err
		}
	}
	for _, how := range []host.Mend{host.MendTakeBack, host.MendClaim, host.MendDrop} {
		if how.String() == req.How {
			fact, err := s.rt.ResolveMigration(r.Context(), id, how, key)
			if err != nil {
				return err
			}
			return writeJSON(w, MendedOf(fact))
		}
	}
	return fmt.Errorf("%w: how is %q, not take-back, claim or drop", errBadRequest, req.How)
}

// Unsettled lists the migrations whose other side has not been heard.
func (c *Client) Unsettled(ctx context.Context) (out []Unsettled, err error) {
	return out, c.call(ctx, "GET", "migrations", nil, &out)
}

// Resolve settles a migration whose other side is gone for good.
func (c *Client) Resolve(ctx context.Context, ref string, req Resolve) (out Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "migrations/"+ref+"/resolve", bytes.NewReader(body), &out)
}
