package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"wasmhost/host"
	"wasmhost/host/daemon"
)

// SetLimits asks that limits of a daemon or a kind become others. What is not named stays.
type SetLimits struct {
	Limits map[string]int64 `json:"limits"` // by name: bytes, counts, nanoseconds; 0: the kind's or the node's hold again
}

// DaemonLimits is what bounds a daemon.
type DaemonLimits struct {
	Name     string           `json:"name"`
	Origin   string           `json:"origin"`
	EntityID string           `json:"entity_id"`
	Kind     string           `json:"kind"`
	NodeID   string           `json:"node_id"`
	Limits   map[string]int64 `json:"limits"`         // that hold: bytes, counts, nanoseconds
	Own      map[string]int64 `json:"own"`            // those of them that are the daemon's own
	Used     []Used           `json:"used,omitempty"` // of its bounds
}

// KindLimits is what bounds daemons of a kind.
type KindLimits struct {
	Name    string            `json:"name"`
	Limits  map[string]int64  `json:"limits"`            // that hold for daemons that are made without others
	Own     map[string]int64  `json:"own"`               // those of them that are the kind's
	Changed int               `json:"changed,omitempty"` // daemons of the node that have what was set
	Kept    []DaemonKeepsThem `json:"kept,omitempty"`    // daemons of the node that have not
}

// DaemonKeepsThem is a daemon that did not take limits of its kind.
type DaemonKeepsThem struct {
	Name     string   `json:"name"`
	EntityID string   `json:"entity_id"`
	Error    *Problem `json:"error,omitempty"` // absent: it has others of its own
}

// NodeLimits is what bounds the daemons of a node that have no limits of their own.
type NodeLimits struct {
	Limits map[string]int64 `json:"limits"` // bytes, counts, nanoseconds
}

func (s *Server) getNodeLimits(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, NodeLimits{s.rt.NodeLimits().Map()})
}

func limitsOf(i daemon.Info, used []Used) DaemonLimits {
	return DaemonLimits{Name: i.Name, Origin: i.Entity.Origin().String(), EntityID: i.Entity.String(), Kind: i.Kind, NodeID: i.Node.String(),
		Limits: i.Limits.Map(), Own: i.OwnLimits.Map(), Used: used}
}

func (s *Server) getDaemonLimits(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Inspect(entity(r))
	if err != nil {
		return err
	}
	does, err := s.rt.Effects(entity(r))
	if err != nil {
		return err
	}
	return writeJSON(w, limitsOf(i, usedOf(i, does)))
}

func (s *Server) putDaemonLimits(w http.ResponseWriter, r *http.Request) error {
	var req SetLimits
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if err := checkSetLimits(&req); err != nil {
		return err
	}
	i, err := s.rt.SetLimits(r.Context(), entity(r), req.Limits)
	if err != nil {
		return err
	}
	return writeJSON(w, limitsOf(i, nil))
}

func checkSetLimits(s *SetLimits) error {
	if len(s.Limits) == 0 {
		return fmt.Errorf("%w: no limit is named", errBadRequest)
	}
	return nil
}

func (s *Server) getKindLimits(w http.ResponseWriter, r *http.Request) error {
	k, err := s.rt.Kind(r.PathValue("kind"))
	if err != nil {
		return err
	}
	return writeJSON(w, s.kindLimitsOf(k))
}

func (s *Server) kindLimitsOf(k host.KindInfo) KindLimits {
	return KindLimits{Name: k.Name, Limits: k.Limits.Over(s.rt.NodeLimits()).Map(), Own: k.Limits.Map()}
}

func (s *Server) putKindLimits(w http.ResponseWriter, r *http.Request) error {
	var req SetLimits
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if err := checkSetLimits(&req); err != nil {
		return err
	}
	set, err := s.rt.SetKindLimits(r.Context(), r.PathValue("kind"), req.Limits)
	if err != nil {
		return err
	}
	out := s.kindLimitsOf(set.Kind)
	out.Changed = set.Changed
	for _, d := range set.Kept {
		kept := DaemonKeepsThem{Name: d.Name, EntityID: d.Entity.String()}
		if d.Why != nil {
			kept.Error = ProblemOf(d.Why)
		}
		out.Kept = append(out.Kept, kept)
	}
	return writeJSON(w, out)
}

// NodeLimits returns the limits of the node.
func (c *Client) NodeLimits(ctx context.Context) (out NodeLimits, err error) {
	return out, c.call(ctx, "GET", "/v1/limits", nil, &out)
}

// DaemonLimits returns what bounds a daemon, wherever it is.
func (c *Client) DaemonLimits(ctx context.Context, ref string) (out DaemonLimits, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "/limits"), nil, &out)
}

// SetDaemonLimits sets limits of a daemon, wherever it is.
func (c *Client) SetDaemonLimits(ctx context.Context, ref string, req SetLimits) (out DaemonLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", daemonPath(ref, "/limits"), body, &out)
}

// KindLimits returns what bounds daemons of a kind.
func (c *Client) KindLimits(ctx context.Context, kind string) (out KindLimits, err error) {
	return out, c.call(ctx, "GET", "/v1/kinds/"+url.PathEscape(kind)+"/limits", nil, &out)
}

// SetKindLimits sets limits of a kind, and of those of its daemons on the node that had
// the kind's.
func (c *Client) SetKindLimits(ctx context.Context, kind string, req SetLimits) (out KindLimits, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", "/v1/kinds/"+url.PathEscape(kind)+"/limits", body, &out)
}
