package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// drains is the one drain of a node.
type drains struct {
	mu      sync.Mutex
	current *drain.Drain // nil before the first
}

// running returns the drain under way; nil where there is none.
func (d *drains) running() *drain.Drain {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runningLocked()
}

func (d *drains) runningLocked() *drain.Drain {
	if d.current == nil {
		return nil
	}
	select {
	case <-d.current.Done():
		return nil
	default:
		return d.current
	}
}

// Drain makes the node take no daemons and begins to move away those it has, for
// as long as ctx allows; with lasting it takes none after a restart either. A
// drain that is under way is returned as it is. Errors: host.ErrUnknownNode,
// *wire.AmbiguousError, and those of the store.
func (s *Server) Drain(ctx context.Context, req api.Drain, lasting bool) (*drain.Drain, error) {
	targets, err := s.drainTargets(req.To)
	if err != nil {
		return nil, err
	}
	s.drains.mu.Lock()
	defer s.drains.mu.Unlock()
	if d := s.drains.runningLocked(); d != nil {
		return d, nil
	}
	if err := s.rt.Node().SetDraining(true, lasting); err != nil {
		return nil, err
	}
	s.drains.current = drain.Start(ctx, s.rt, drain.Options{Targets: targets, Parallel: req.Parallel, Logger: s.logger})
	return s.drains.current, nil
}

// drainTargets returns what a drain asks for its targets.
func (s *Server) drainTargets(names []string) (func(context.Context) ([]placement.Node, error), error) {
	var allowed []identity.NodeID
	for _, name := range names {
		id, err := s.find.Target(name)
		if err != nil {
			return nil, err
		}
		if id == s.mesh.Self() {
			return nil, fmt.Errorf("%w: %s is the node that is to be drained", api.ErrBadRequest, name)
		}
		allowed = append(allowed, id)
	}
	return func(ctx context.Context) ([]placement.Node, error) {
		all, err := s.nodes.Candidates(ctx, "", false)
		return slices.DeleteFunc(all, func(n placement.Node) bool {
			return n.ID == s.mesh.Self() || len(allowed) > 0 && !slices.Contains(allowed, n.ID)
		}), err
	}, nil
}

// Undrain ends a drain and makes the node take daemons again.
func (s *Server) Undrain(ctx context.Context) error {
	if d := s.drains.running(); d != nil {
		d.Cancel()
		if _, err := d.Wait(ctx); err != nil {
			return err
		}
	}
	s.drains.mu.Lock()
	defer s.drains.mu.Unlock()
	return s.rt.Node().SetDraining(false, true)
}

// postDrain drains this node, and tells how it goes until it has ended. When the
// client leaves it goes on.
func (s *Server) postDrain(w http.ResponseWriter, r *http.Request) error {
	var req api.Drain
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := s.checkDrain(&req); err != nil {
		return err
	}
	ctx, stop := context.Background(), context.CancelFunc(func() {})
	if req.DeadlineMS > 0 {
		ctx, stop = context.WithTimeout(ctx, time.Duration(req.DeadlineMS)*time.Millisecond)
	}
	d, err := s.Drain(ctx, req, true)
	if err != nil {
		stop()
		return err
	}
	go func() {
		<-d.Done()
		stop()
	}()
	out := lines.New(w, r)
	if req.Detach {
		_ = out.Write(api.DrainStep{Progress: convert.ProgressOf(d.Progress())}) // the client is gone if this fails
		return nil
	}
	_ = s.tell(r.Context(), d, out) // the client is gone if this fails
	return nil
}

// checkDrain returns nil where a drain can be begun, or watched.
func (s *Server) checkDrain(req *api.Drain) error {
	if req.Parallel < 0 || req.Parallel > drain.MaxParallel || req.DeadlineMS < 0 || req.DeadlineMS > int64(maxDeadline/time.Millisecond) {
		return fmt.Errorf("%w: parallel is 0 to %d, a deadline at most %v", api.ErrBadRequest, drain.MaxParallel, maxDeadline)
	}
	if s.drains.running() != nil && (len(req.To) > 0 || req.Parallel > 0 || req.DeadlineMS > 0) {
		return problem.ErrDrainRunning
	}
	return s.rt.Ready()
}

// maxDeadline bounds for how long a drain can be told to last.
const maxDeadline = 30 * 24 * time.Hour

// tell writes a line for each daemon, the progress now and then, and the end.
func (s *Server) tell(ctx context.Context, d *drain.Drain, out lines.Writer) error {
	results := make(chan drain.Result)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(results)
		_ = d.Each(ctx, func(r drain.Result) error { // ends when ctx does, or the drain
			select {
			case results <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case r, ok := <-results:
			if !ok {
				return s.tellEnd(ctx, d, out)
			}
			if err := out.Write(api.DrainStep{Daemon: convert.DrainedOf(r)}); err != nil {
				return err
			}
		case <-ticker.C:
			if err := out.Write(api.DrainStep{Progress: convert.ProgressOf(d.Progress())}); err != nil {
				return err
			}
		}
	}
}

func (s *Server) tellEnd(ctx context.Context, d *drain.Drain, out lines.Writer) error {
	sum, err := d.Wait(ctx)
	if err != nil {
		return err
	}
	end := &api.DrainSummary{NodeID: s.mesh.Self().String(), DrainProgress: *convert.ProgressOf(sum.Progress), Left: []api.Drained{}}
	for _, r := range sum.Stayed {
		end.Left = append(end.Left, *convert.DrainedOf(r))
	}
	step := api.DrainStep{Summary: end}
	if err := sum.Err(); err != nil {
		step.Error = problem.Of(err)
	}
	return out.Write(step)
}

func (s *Server) deleteDrain(w http.ResponseWriter, r *http.Request) error {
	if err := s.Undrain(r.Context()); err != nil {
		return err
	}
	n := s.nodes.Self()
	n.Capabilities = s.nodes.Capabilities()
	return web.WriteJSON(w, n)
}

// atNode answers requests about this node, and passes others to the node that
// they are about. The targets of a drain are named as this node knows them.
func (s *Server) atNode(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := s.mesh.FindNode(r.PathValue("node"))
		if err != nil {
			return err
		}
		if id == s.mesh.Self() {
			return h(w, r)
		}
		body, err := web.ReadAll(w, r, api.MaxJSON)
		if err != nil {
			return err
		}
		if len(body) > 0 {
			if body, err = s.namedTargets(body); err != nil {
				return err
			}
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return s.find.PassTo(w, r, "/v1/nodes/"+id.String()+"/drain", id)
	}
}

// namedTargets replaces the names of targets that are known here by ids.
func (s *Server) namedTargets(body []byte) ([]byte, error) {
	var req api.Drain
	if err := web.ParseJSON(body, &req); err != nil {
		return nil, err
	}
	for i, name := range req.To {
		id, err := s.find.Target(name)
		var ambiguous *wire.AmbiguousError
		switch {
		case err == nil:
			req.To[i] = id.String()
		case errors.As(err, &ambiguous):
			return nil, err
		}
	}
	return json.Marshal(req)
}
