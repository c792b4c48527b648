package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"wasmhost/host/chain"
	"wasmhost/identity"
)

// Migration is one that the node takes or took part in.
type Migration struct {
	Name       string     `json:"name,omitempty"`
	Origin     string     `json:"origin"`
	EntityID   string     `json:"entity_id"`
	Peer       string     `json:"peer"`
	Role       string     `json:"role"`  // the node's: source or target
	State      string     `json:"state"` // running, waiting (for the other node), moved or failed
	Phase      string     `json:"phase"`
	Epoch      uint64     `json:"epoch"`
	Sequence   uint64     `json:"sequence,omitempty"`
	Bytes      int64      `json:"bytes"`
	Done       int64      `json:"done,omitempty"`
	Whole      int64      `json:"whole,omitempty"`
	Rounds     int        `json:"rounds"`
	DowntimeMS float64    `json:"downtime_ms,omitempty"`
	Began      time.Time  `json:"began"`
	Ended      *time.Time `json:"ended,omitempty"`
	Reason     string     `json:"reason,omitempty"`
}

// Resolve asks for such a migration to be settled without the other side: How is
// take-back, claim or drop.
type Resolve struct {
	How      string `json:"how"`
	Identity []byte `json:"identity,omitempty"` // with claim: the seed of the daemon's key
}

func (s *Server) getMigrations(w http.ResponseWriter, r *http.Request) error {
	if queryOf(r).is("follow") {
		return s.followMigrations(w, r)
	}
	all, err := s.rt.ListMigrations(queryOf(r).is("all"))
	if err != nil {
		return err
	}
	out := []Migration{}
	for _, m := range all {
		v := Migration{Name: m.Name, Origin: m.Entity.Origin().String(), EntityID: m.Entity.String(), Peer: m.Peer.String(), Role: "target", State: string(m.State),
			Phase: m.Phase.String(), Epoch: m.Epoch, Sequence: m.Sequence, Bytes: m.Bytes, Done: m.Done, Whole: m.Whole, Rounds: m.Rounds,
			DowntimeMS: ms(m.Downtime), Began: m.Began.UTC()}
		if m.Source {
			v.Role = "source"
		}
		if !m.Ended.IsZero() {
			ended := m.Ended.UTC()
			v.Ended = &ended
		}
		if m.Err != nil {
			v.Reason = m.Err.Error()
		}
		out = append(out, v)
	}
	key := func(m Migration) string { return ordered(m.Began) + m.EntityID + m.Role + number(m.Epoch) + m.State }
	slices.SortFunc(out, func(a, b Migration) int { return strings.Compare(key(a), key(b)) })
	return writePage(w, r, out, key)
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
	for _, how := range []chain.Mend{chain.MendTakeBack, chain.MendClaim, chain.MendDrop} {
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

// Migrations lists those that run or wait for the other node and, with all, those
// that are over.
func (c *Client) Migrations(ctx context.Context, all bool) (out []Migration, err error) {
	path := "migrations"
	if all {
		path += "?all=true"
	}
	return pages[Migration](ctx, c, path)
}

// Resolve settles a migration whose other side is gone for good.
func (c *Client) Resolve(ctx context.Context, ref string, req Resolve) (out Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "migrations/"+segment(ref)+"/resolve", bytes.NewReader(body), &out)
}
