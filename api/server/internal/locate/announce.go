package locate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/placement"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// resources is what a node has to give.
type resources interface {
	DaemonCount() int
}

// kinds are those of a node.
type kinds interface {
	Get(name string) (registry.KindInfo, error)
}

// nodeState is what a node says of itself.
type nodeState interface {
	Draining() bool
	Budgets() *budget.Set
}

// Announcer says what this node has to give, and asks peers what they have. It is safe for
// concurrent use.
type Announcer struct {
	rt      resources
	node    nodeState
	kinds   kinds
	comes   func() host.Arrivals // what is on its way here
	mesh    *wire.Mesh
	version string
	tags    atomic.Pointer[map[string]string]
}

// NewAnnouncer makes the announcer of the node of mesh, which runs a version of the program.
func NewAnnouncer(rt resources, node nodeState, kinds kinds, comes func() host.Arrivals, mesh *wire.Mesh, version string) *Announcer {
	return &Announcer{rt: rt, node: node, kinds: kinds, comes: comes, mesh: mesh, version: version}
}

// SetTags sets what the node announces as its tags. The map must not change after.
func (a *Announcer) SetTags(tags map[string]string) { a.tags.Store(&tags) }

// Capabilities returns what this node has to give: memory, daemons, tags, and whether it
// drains.
func (a *Announcer) Capabilities() *api.Capabilities {
	l := host.ReadLoad()
	c := &api.Capabilities{FreeMemory: l.FreeMemory, TotalMemory: l.TotalMemory, Daemons: a.rt.DaemonCount(), Draining: a.node.Draining()}
	if tags := a.tags.Load(); tags != nil {
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
func (a *Announcer) alike(kind string) int {
	k, err := a.kinds.Get(kind)
	if err != nil { // it has none
		return 0
	}
	return k.Daemons
}

// GetNode answers with this node and its capabilities.
func (a *Announcer) GetNode(w http.ResponseWriter, r *http.Request) error {
	n := a.Self()
	n.Capabilities = a.Capabilities()
	n.Capabilities.Alike = a.alike(query.Of(r).Text("kind"))
	if from, ok := wire.PeerOf(r.Context()); ok {
		p, err := a.mesh.FindPeer(from.String())
		if err != nil {
			return err
		}
		n.Capabilities.Granted = p.Rights.String()
		return web.WriteJSON(w, n)
	}
	n.Budgets = a.budgets()
	return web.WriteJSON(w, n)
}

// Ask has a peer say what it is and has. What comes is bounded.
func (a *Announcer) Ask(ctx context.Context, id identity.NodeID, kind string) (*api.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	n, err := client.New(a.mesh.HTTPTransport(id)).Reading(api.MaxJSON).Node().GetFor(ctx, kind)
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

// Candidates asks every peer what it announces. This node is among them, as one
// where a daemon is already, unless here is set: then it is one like the others. Each
// says how many daemons of the kind it has.
func (a *Announcer) Candidates(ctx context.Context, kind string, here bool) ([]placement.Node, error) {
	peers, err := a.mesh.Peers()
	if err != nil {
		return nil, err
	}
	out := make([]placement.Node, len(peers), len(peers)+1)
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			c, err := a.Ask(ctx, p.ID, kind)
			if err != nil {
				out[i] = placement.Node{ID: p.ID, Name: p.Name, Refuses: Why(err)}
				return
			}
			out[i] = candidateOf(c, p.ID, p.Name)
			if !MayOwn(p.Rights) {
				out[i].Refuses = "it may not have this node's daemons: it has neither the right migrate nor operate here"
				return
			}
			if rights, err := trust.ParseRights(c.Granted); err != nil || rights&trust.RightMigrate == 0 {
				out[i].Refuses = "it does not let this node move daemons there"
			}
		})
	}
	wg.Wait()
	own := a.Capabilities()
	own.Alike = a.alike(kind)
	self := candidateOf(own, a.mesh.Self(), a.mesh.Name())
	if !here {
		self.Refuses = "the daemon is there"
	}
	return append(out, self), ctx.Err()
}

// Why says why a node did not announce anything.
func Why(err error) string {
	var said *api.Problem
	if errors.As(err, &said) || !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("it says: %v", err)
	}
	return "it does not answer"
}

// budgets returns what is taken of the node's bounds on the bytes that it holds.
func (a *Announcer) budgets() []api.NodeBudget {
	var out []api.NodeBudget
	for _, u := range append([]budget.Use{a.comes().Bytes}, a.node.Budgets().Uses()...) {
		out = append(out, api.NodeBudget{Name: u.Name, Used: u.Used, Peak: u.Peak, Most: u.Limit, Waiting: u.Waiting, Refused: u.Refused})
	}
	return out
}

// Self is the node without what it announces.
func (a *Announcer) Self() api.Node {
	return api.Node{NodeID: a.mesh.Self().String(), Name: a.mesh.Name(), Addr: a.mesh.Addr().String(), Self: true, Online: true, Version: a.version}
}
