package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
)

func (s *Server) getMigrations(w http.ResponseWriter, r *http.Request) error {
	if query.Of(r).Is("follow") {
		return s.followMigrations(w, r)
	}
	all, err := s.rt.Migrations().List(query.Of(r).Is("all"))
	if err != nil {
		return err
	}
	out := []api.Migration{}
	for _, m := range all {
		v := api.Migration{Name: m.Name, Origin: m.Entity.Origin().String(), EntityID: m.Entity.String(), Peer: m.Peer.String(), Role: "target", State: string(m.State),
			Phase: m.Phase.String(), Epoch: m.Epoch, Sequence: m.Sequence, Bytes: m.Bytes, Done: m.Done, Whole: m.Whole, Rounds: m.Rounds,
			DowntimeMS: convert.Milliseconds(m.Downtime), Began: m.Began.UTC()}
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
	key := func(m api.Migration) string {
		return web.Ordered(m.Began) + m.EntityID + m.Role + web.Number(m.Epoch) + m.State
	}
	slices.SortFunc(out, func(a, b api.Migration) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

func (s *Server) postResolve(w http.ResponseWriter, r *http.Request) error {
	var req api.Resolve
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	id, err := s.rt.Daemons().Resolve(r.PathValue("ref"))
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
			fact, err := s.rt.Migrations().Resolve(r.Context(), id, how, key)
			if err != nil {
				return err
			}
			return web.WriteJSON(w, convert.MendedOf(fact))
		}
	}
	return fmt.Errorf("%w: how is %q, not take-back, claim or drop", api.ErrBadRequest, req.How)
}
