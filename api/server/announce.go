package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// SetTags sets what the node announces as its tags. The map must not change after.
func (s *Server) SetTags(tags map[string]string) { s.tags.Store(&tags) }

func (s *Server) capabilities() *api.Capabilities {
	l := host.ReadLoad()
	c := &api.Capabilities{FreeMemory: l.FreeMemory, TotalMemory: l.TotalMemory, Daemons: s.rt.DaemonCount(), Draining: s.rt.Node().Draining()}
	if tags := s.tags.Load(); tags != nil {
		c.Tags = *tags
	}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	if l.Threads >= 0 {
		c.Load = &l.Threads
	}
	return c
}

// alike is how many daemons of the kind are here.
func (s *Server) alike(kind string) int {
	k, err := s.rt.Kinds().Get(kind)
	if err != nil { // it has none
		return 0
	}
	return k.Daemons
}

func (s *Server) getNode(w http.ResponseWriter, r *http.Request) error {
	n := s.self()
	n.Capabilities = s.capabilities()
	n.Capabilities.Alike = s.alike(query.Of(r).Text("kind"))
	if from, ok := wire.PeerOf(r.Context()); ok {
		p, err := s.mesh.FindPeer(from.String())
		if err != nil {
			return err
		}
		n.Capabilities.Granted = p.Rights.String()
		return web.WriteJSON(w, n)
	}
	n.Budgets = s.budgets()
	return web.WriteJSON(w, n)
}

// ask has a peer say what it is and has. What comes is bounded.
func (s *Server) ask(ctx context.Context, id identity.NodeID, kind string) (*api.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n, err := client.New(s.mesh.HTTPTransport(id)).Reading(api.MaxJSON).Node().GetFor(ctx, kind)
	if err != nil {
		return nil, err
	}
	if n.Capabilities == nil {
		return nil, fmt.Errorf("node %s announces nothing", id)
	}
	return n.Capabilities, placement.CheckTags(n.Capabilities.Tags)
}

// candidateOf returns a node as placement knows it.
func candidateOf(c *api.Capabilities, id identity.NodeID, name string) placement.Node {
	n := placement.Node{ID: id, Name: name, Same: c.Alike, Capabilities: placement.Capabilities{Tags: c.Tags, FreeMemory: c.FreeMemory, TotalMemory: c.TotalMemory,
		Daemons: c.Daemons, Load: -1, Draining: c.Draining}}
	if c.Load != nil {
		n.Load = *c.Load
	}
	return n
}

// candidates asks every peer what it announces. This node is among them, as one
// where a daemon is already, unless here is set: then it is one like the others. Each
// says how many daemons of the kind it has.
func (s *Server) candidates(ctx context.Context, kind string, here bool) ([]placement.Node, error) {
	peers, err := s.mesh.Peers()
	if err != nil {
		return nil, err
	}
	out := make([]placement.Node, len(peers), len(peers)+1)
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			c, err := s.ask(ctx, p.ID, kind)
			if err != nil {
				out[i] = placement.Node{ID: p.ID, Name: p.Name, Refuses: why(err)}
				return
			}
			out[i] = candidateOf(c, p.ID, p.Name)
			if !mayOwn(p.Rights) {
				out[i].Refuses = "it may not have this node's daemons: it has neither the right migrate nor operate here"
				return
			}
			if rights, err := wire.ParseRights(c.Granted); err != nil || rights&wire.RightMigrate == 0 {
				out[i].Refuses = "it does not let this node move daemons there"
			}
		})
	}
	wg.Wait()
	own := s.capabilities()
	own.Alike = s.alike(kind)
	self := candidateOf(own, s.mesh.Self(), s.mesh.Name())
	if !here {
		self.Refuses = "the daemon is there"
	}
	return append(out, self), ctx.Err()
}

// why says why a node did not announce anything.
func why(err error) string {
	var said *api.Problem
	if errors.As(err, &said) || !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("it says: %v", err)
	}
	return "it does not answer"
}

// budgets returns what is taken of the node's bounds on the bytes that it holds.
func (s *Server) budgets() []api.NodeBudget {
	var out []api.NodeBudget
	for _, u := range append([]budget.Use{s.rt.Migrations().Arrivals().Bytes}, s.rt.Node().Budgets().Uses()...) {
		out = append(out, api.NodeBudget{Name: u.Name, Used: u.Used, Peak: u.Peak, Most: u.Limit, Waiting: u.Waiting, Refused: u.Refused})
	}
	return out
}
