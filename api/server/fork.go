package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
)

// ForkOfRecord shows a fork record; nil for nil.
func ForkOfRecord(f *chain.ForkRecord) *api.ForkOf {
	if f == nil {
		return nil
	}
	return &api.ForkOf{Parent: f.Parent.Origin().String(), ParentID: f.Parent.String(), Epoch: f.Epoch, Sequence: f.Sequence, Head: f.Head.String(),
		Applied: f.Applied, State: fmt.Sprintf("%x", f.State)}
}

func (s *Server) postFork(w http.ResponseWriter, r *http.Request) error {
	var req api.Fork
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	own, err := daemon.LimitsOf(req.Limits)
	if err != nil {
		return err
	}
	if req.At != nil && req.LastGood {
		return fmt.Errorf("%w: give either at or last_good", api.ErrBadRequest)
	}
	if req.Count < 0 || req.Count > host.MaxForks {
		return fmt.Errorf("%w: %d forks, at most %d at a time", api.ErrBadRequest, req.Count, host.MaxForks)
	}
	forks, err := s.rt.Fork(r.Context(), entity(r), host.ForkRequest{At: req.At, LastGood: req.LastGood, Count: req.Count, Name: req.Name, Limits: own})
	if err != nil {
		return err
	}
	out := []api.Daemon{}
	for k := range forks {
		d := daemonOf(forks[k].Info)
		d.Fork = ForkOfRecord(&forks[k].Record)
		out = append(out, d)
	}
	return writeJSON(w, out)
}
