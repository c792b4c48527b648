package control

import (
	"context"
	"fmt"
	"net/http"

	"wasmhost/host"
	"wasmhost/host/chain"
	"wasmhost/host/daemon"
)

// Fork asks for daemons that begin with the state of one.
type Fork struct {
	At       *uint64          `json:"at,omitempty"`        // sequence of the output after which; 0: as it was spawned; absent: now
	LastGood bool             `json:"last_good,omitempty"` // of a daemon that cannot go on: after the last record that can be replayed
	Count    int              `json:"count,omitempty"`     // 0: 1
	Name     string           `json:"name,omitempty"`      // of several, what comes before -1, -2, …
	Limits   map[string]int64 `json:"limits,omitempty"`
}

// ForkOf says how a daemon began as a fork.
type ForkOf struct {
	Parent   string `json:"parent_origin"`
	ParentID string `json:"parent_entity_id"`
	Epoch    uint64 `json:"parent_epoch"`
	Sequence uint64 `json:"after_sequence"`
	Head     string `json:"parent_head"`
	Applied  uint64 `json:"events_applied"`
	State    string `json:"state_hash,omitempty"` // absent: the daemon keeps no state
}

// ForkOfRecord shows a fork record; nil for nil.
func ForkOfRecord(f *chain.ForkRecord) *ForkOf {
	if f == nil {
		return nil
	}
	return &ForkOf{Parent: f.Parent.Origin().String(), ParentID: f.Parent.String(), Epoch: f.Epoch, Sequence: f.Sequence, Head: f.Head.String(),
		Applied: f.Applied, State: fmt.Sprintf("%x", f.State)}
}

func (s *Server) postFork(w http.ResponseWriter, r *http.Request) error {
	var req Fork
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	own, err := daemon.LimitsOf(req.Limits)
	if err != nil {
		return err
	}
	if req.At != nil && req.LastGood {
		return fmt.Errorf("%w: give either at or last_good", errBadRequest)
	}
	if req.Count < 0 || req.Count > host.MaxForks {
		return fmt.Errorf("%w: %d forks, at most %d at a time", errBadRequest, req.Count, host.MaxForks)
	}
	forks, err := s.rt.Fork(r.Context(), entity(r), host.ForkRequest{At: req.At, LastGood: req.LastGood, Count: req.Count, Name: req.Name, Limits: own})
	if err != nil {
		return err
	}
	out := []Daemon{}
	for k := range forks {
		d := daemonOf(forks[k].Info)
		d.Fork = ForkOfRecord(&forks[k].Record)
		out = append(out, d)
	}
	return writeJSON(w, out)
}

// Fork makes daemons that begin with the state of this one, where it is.
func (c *Client) Fork(ctx context.Context, ref string, req Fork) (out []Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/fork"), body, &out)
}
