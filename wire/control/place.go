package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"wasmhost/host"
	"wasmhost/host/daemon"
	"wasmhost/host/placement"
	"wasmhost/identity"
)

// Place asks for a node for a daemon.
type Place struct {
	Where   map[string]string `json:"where,omitempty"` // tags that the node must have
	MinFree int64             `json:"min_free_memory_bytes,omitempty"`

	MaxAlike int               `json:"max_alike,omitempty"` // of daemons of its kind on the node, this one included; 0: any number
	Prefer   map[string]string `json:"prefer,omitempty"`    // tags: the more of them a node has the better, before all else
	Spread   string            `json:"spread,omitempty"`    // what is to have few daemons of its kind: "node", or the key of a tag
	Pack     bool              `json:"pack,omitempty"`      // the node with the most daemons comes first, so that others stay free
}

// PlaceKind asks where a daemon of a kind would be made.
type PlaceKind struct {
	Kind string `json:"kind"`
	Place
}

// Placed is the node that was picked, and what was thought of each.
type Placed struct {
	NodeID   string    `json:"node_id"`
	Name     string    `json:"name"`
	Verdicts []Verdict `json:"verdicts"` // best first
}

// Verdict is what a node is worth for a daemon.
type Verdict struct {
	NodeID  string   `json:"node_id"`
	Name    string   `json:"name"`
	Fits    bool     `json:"fits"`
	Misses  []string `json:"misses,omitempty"` // requirements that it does not meet
	Score   float64  `json:"score"`
	Reasons []string `json:"reasons,omitempty"` // what the score is made of
}

func verdictsOf(all []placement.Verdict) []Verdict {
	out := []Verdict{}
	for _, v := range all {
		out = append(out, Verdict{NodeID: v.ID.String(), Name: v.Name, Fits: v.Fits(), Misses: v.Misses, Score: v.Score, Reasons: v.Reasons})
	}
	return out
}

// requirementsOf checks what a request says.
func requirementsOf(p Place) (placement.Requirements, error) {
	if err := placement.CheckTags(p.Where); err != nil {
		return placement.Requirements{}, fmt.Errorf("%w: where: %w", errBadRequest, err)
	}
	if p.MinFree < 0 {
		return placement.Requirements{}, fmt.Errorf("%w: %d bytes of free memory", errBadRequest, p.MinFree)
	}
	if err := placement.CheckTags(p.Prefer); err != nil {
		return placement.Requirements{}, fmt.Errorf("%w: prefer: %w", errBadRequest, err)
	}
	if p.Spread != "" && p.Spread != placement.SpreadNodes {
		if err := placement.CheckTags(map[string]string{p.Spread: "x"}); err != nil {
			return placement.Requirements{}, fmt.Errorf("%w: spread: %w", errBadRequest, err)
		}
	}
	if p.MaxAlike < 0 {
		return placement.Requirements{}, fmt.Errorf("%w: at most %d daemons of its kind", errBadRequest, p.MaxAlike)
	}
	return placement.Requirements{Tags: p.Where, MinFreeMemory: p.MinFree, MaxSame: p.MaxAlike, Prefer: p.Prefer, Spread: p.Spread, Pack: p.Pack}, nil
}

// postPlace picks a node for a daemon that is here.
func (s *Server) postPlace(w http.ResponseWriter, r *http.Request) error {
	var p Place
	if err := readJSON(w, r, &p); err != nil {
		return err
	}
	req, err := requirementsOf(p)
	if err != nil {
		return err
	}
	d, err := s.rt.Inspect(entity(r))
	if err != nil {
		return err
	}
	req.Memory = d.MemoryBytes
	nodes, err := s.candidates(r.Context(), d.Kind, false)
	if err != nil {
		return err
	}
	return writePlaced(w, nodes, req)
}

// postPlaceKind says where a daemon of a kind would be made, and makes none.
func (s *Server) postPlaceKind(w http.ResponseWriter, r *http.Request) error {
	var p PlaceKind
	if err := readJSON(w, r, &p); err != nil {
		return err
	}
	req, err := requirementsOf(p.Place)
	if err != nil {
		return err
	}
	if _, err := s.rt.Kind(p.Kind); err != nil {
		return err
	}
	nodes, err := s.candidates(r.Context(), p.Kind, true)
	if err != nil {
		return err
	}
	return writePlaced(w, nodes, req)
}

func writePlaced(w http.ResponseWriter, nodes []placement.Node, req placement.Requirements) error {
	best, all, err := placement.Pick(nodes, req)
	if err != nil {
		return err
	}
	return writeJSON(w, Placed{NodeID: best.ID.String(), Name: best.Name, Verdicts: verdictsOf(all)})
}

// spawnWhere spawns the daemon on the node that meets its requirements best. On
// another node it is made here and moved there, for a peer makes no daemons for
// us, but takes ours where it lets us move them.
func (s *Server) spawnWhere(ctx context.Context, spawn daemon.SpawnRequest, place Place) (Daemon, error) {
	req, err := requirementsOf(place)
	if err != nil {
		return Daemon{}, err
	}
	nodes, err := s.candidates(ctx, spawn.Kind, true)
	if err != nil {
		return Daemon{}, err
	}
	best, _, err := placement.Pick(nodes, req)
	if err != nil {
		return Daemon{}, err
	}
	i, err := s.rt.Spawn(ctx, spawn)
	if err != nil || best.ID == s.mesh.Self() {
		return daemonOf(i), err
	}
	rep, err := s.moveFresh(ctx, i, best.ID)
	if err != nil {
		return Daemon{}, fmt.Errorf("the daemon was made, but did not get to node %s: %w", best.ID, err)
	}
	i.Node, i.Epoch = rep.To, rep.Epoch
	return daemonOf(i), nil
}

// moveFresh moves a daemon that was just made. Where that fails nothing is left
// of it, unless it may be on the target.
func (s *Server) moveFresh(ctx context.Context, i daemon.Info, to identity.NodeID) (host.Report, error) {
	m, err := s.rt.StartMigrationWith(ctx, i.Entity, to, host.MigrationOptions{RetryNotReady: defaultRetry})
	var rep host.Report
	if err == nil {
		rep, err = m.Wait(ctx)
	}
	if err != nil {
		if m != nil {
			m.Cancel()
		}
		stopErr := s.rt.Stop(context.WithoutCancel(ctx), i.Entity)
		if stopErr != nil && !errors.Is(stopErr, daemon.ErrNotFound) {
			err = errors.Join(err, fmt.Errorf("daemon %s is left: %w", i.Entity.Origin(), stopErr))
		}
	}
	return rep, err
}

// Place picks a node for the daemon.
func (c *Client) Place(ctx context.Context, ref string, req Place) (out Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/place"), body, &out)
}

// PlaceKind says where a daemon of a kind would be made.
func (c *Client) PlaceKind(ctx context.Context, req PlaceKind) (out Placed, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "place", body, &out)
}
