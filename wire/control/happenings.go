package control

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"wasmhost/host/daemon"
	"wasmhost/wire"
)

// Happening is something that happened on the node.
type Happening struct {
	Time     time.Time `json:"time"`
	NodeID   string    `json:"node_id"` // where
	What     string    `json:"what"`    // spawned, removed, stopped, started, failed, mended, upgraded, migration-phase, migration-round, migration-ended, came, kind-pushed, kind-removed, draining or undrained; of all nodes: following, from when on a node's are told
	Name     string    `json:"name,omitempty"`
	EntityID string    `json:"entity_id,omitempty"`
	Origin   string    `json:"origin,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Epoch    uint64    `json:"epoch,omitempty"`
	Reason   string    `json:"reason,omitempty"`

	Peer       string  `json:"peer,omitempty"` // of a migration: the other node
	Role       string  `json:"role,omitempty"` // of a migration: this node's
	Phase      string  `json:"phase,omitempty"`
	Round      *Round  `json:"round,omitempty"`
	Bytes      int64   `json:"bytes,omitempty"`
	DowntimeMS float64 `json:"downtime_ms,omitempty"`
}

func (s *Server) happeningOf(h daemon.Notification) Happening {
	out := Happening{Time: h.At.UTC(), NodeID: s.mesh.Self().String(), What: string(h.Topic), Name: h.Name, Kind: h.Kind, Epoch: h.Epoch, Reason: h.Reason, Bytes: h.Bytes, DowntimeMS: ms(h.Downtime)}
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
		r := roundOf(*h.Round)
		out.Round = &r
	}
	return out
}

// getHappenings tells what happens on this node from now on; with all, what
// happens on the nodes that it trusts too.
func (s *Server) getHappenings(w http.ResponseWriter, r *http.Request) error {
	if _, peer := wire.PeerOf(r.Context()); !peer && queryOf(r).is("all") {
		return s.happeningsOfAll(w, r)
	}
	return s.happenings(w, r, func(daemon.Notification) bool { return true })
}

// followMigrations tells how migrations from and to this node go from now on.
func (s *Server) followMigrations(w http.ResponseWriter, r *http.Request) error {
	return s.happenings(w, r, func(h daemon.Notification) bool {
		return h.Topic == daemon.Came || strings.HasPrefix(string(h.Topic), "migration-")
	})
}

func (s *Server) happenings(w http.ResponseWriter, r *http.Request, wanted func(daemon.Notification) bool) error {
	in := s.rt.Notifications(r.Context())
	out := newLines(w, r)
	out.begin()
	for h := range in {
		if !wanted(h) {
			continue
		}
		if err := out.write(s.happeningOf(h)); err != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// Happenings calls fn with what happens on the node from now on, and with all on the
// nodes that it trusts, until ctx ends, fn returns an error, or the node ends the stream,
// which is ErrUnreachable. It calls began, unless that is nil, when nothing that
// happens is missed any more.
func (c *Client) Happenings(ctx context.Context, all bool, began func(), fn func(Happening) error) error {
	path := "happenings"
	if all {
		path += "?all=true"
	}
	res, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer res.Close()
	if began != nil {
		began()
	}
	if err := eachLine(ctx, c, res, fn); err != nil {
		return err
	}
	return broken(ctx, io.EOF)
}
