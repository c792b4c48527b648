package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/host/daemon"
	"wasmhost.example/wire"
)

func (s *Server) happeningOf(h daemon.Notification) api.Happening {
	out := api.Happening{Time: h.At.UTC(), NodeID: s.mesh.Self().String(), What: string(h.Topic), Name: h.Name, Kind: h.Kind, Epoch: h.Epoch, Reason: h.Reason, Bytes: h.Bytes, DowntimeMS: convert.Milliseconds(h.Downtime)}
	if !h.Entity.IsZero() {
		out.EntityID, out.Origin = h.Entity.String(), h.Entity.Origin().String()
	}
	if h.Peer != 0 {
		out.Peer, out.Role = h.Peer.String(), "target"
	}
	if h.Source {
		out.Role, out.Phase = "source", h.Phase.String()
	}
	if h.Round != nil {
		r := convert.RoundOf(*h.Round)
		out.Round = &r
	}
	return out
}

// getHappenings tells what happens on this node from now on, or since a time as far as it
// is known; with all, what happens on the nodes that it trusts too.
func (s *Server) getHappenings(w http.ResponseWriter, r *http.Request) error {
	var since time.Time
	if text := query.Of(r).Text("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return fmt.Errorf("%w: since is %q, not a time as 2026-01-31T15:04:05Z", api.ErrBadRequest, text)
		}
	}
	if _, peer := wire.PeerOf(r.Context()); !peer && query.Of(r).Is("all") {
		return s.happeningsOfAll(w, r, since)
	}
	return s.happenings(w, r, since, func(daemon.Notification) bool { return true })
}

// followMigrations tells how migrations from and to this node go from now on.
func (s *Server) followMigrations(w http.ResponseWriter, r *http.Request) error {
	return s.happenings(w, r, time.Time{}, func(h daemon.Notification) bool {
		return h.Topic == daemon.Came || strings.HasPrefix(string(h.Topic), "migration-")
	})
}

func (s *Server) happenings(w http.ResponseWriter, r *http.Request, since time.Time, wanted func(daemon.Notification) bool) error {
	in := s.rt.Notifications(r.Context(), since)
	out := lines.New(w, r)
	out.Begin()
	for h := range in {
		if !wanted(h) {
			continue
		}
		if err := out.Write(s.happeningOf(h)); err != nil {
			return nil // the client is gone
		}
	}
	return nil
}
