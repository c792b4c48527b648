// Package cluster answers requests about the node's cluster, and recovers one that has lost
// its directory for good.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// Engine is what the API needs of the part that a node has in its cluster's
// engine.
type Engine interface {
	// Name and Kind are the cluster's name, and "embedded" or "etcd".
	Name() string
	Kind() string

	// Peers lists the members of an embedded engine, by node id; Admit lets a node
	// come that is a member of the cluster or has trust.RightJoin; Remove takes one out of
	// the members.
	Peers(ctx context.Context) (map[string]api.ClusterMember, error)
	Admit(ctx context.Context, node identity.NodeID, a api.Admission) (api.Admitted, error)
	Remove(ctx context.Context, node identity.NodeID) error

	// Recover has this node begin a new embedded engine in place of one that is lost, and
	// Follow has it come to the one that another node has begun. The node restarts for
	// that once the caller has its answer.
	Recover(ctx context.Context, d NewDirectory) error
	Follow(ctx context.Context, node identity.NodeID) error
}

// copies is what a node has of its cluster's daemons.
type copies interface {
	List() []host.Copy
	Index(identity.EntityID) uint64
	Export(ctx context.Context, id identity.EntityID, w io.Writer) error
	Promote(ctx context.Context, id identity.EntityID, at chain.End, epoch uint64) error
	WithoutDirectory(context.Context) error
}

// membership is what a node knows of its cluster.
type membership interface {
	Cluster() (*directory.Member, error)
}

// holder says whether a node may serve.
type holder interface {
	Holding() error
}

// clusterRoom answers about the node's cluster, and recovers one that has lost its directory.
// It is safe for concurrent use once SetEngine was called.
type Cluster struct {
	rt         membership
	node       holder
	copies     copies
	remembered func() []directory.Daemon // what this node remembers that the directory said
	mesh       *wire.Mesh
	find       *locate.Finder
	guard      *access.Guard
	sight      func(identity.EntityID) (api.Sighting, error) // what this node alone knows of a daemon
	logger     *slog.Logger
	engine     Engine     // nil: the node is in no cluster
	recovering sync.Mutex // held by the recovery of the cluster that runs
}

// newClusterRoom makes the room of a node that is in no cluster yet.
func New(rt membership, node holder, copies copies, remembered func() []directory.Daemon, find *locate.Finder, guard *access.Guard, mesh *wire.Mesh, sight func(identity.EntityID) (api.Sighting, error), logger *slog.Logger) *Cluster {
	return &Cluster{rt: rt, node: node, copies: copies, remembered: remembered, find: find, guard: guard, mesh: mesh, sight: sight, logger: logger}
}

// SetEngine tells the server of the node's cluster. It is called before the server
// answers.
func (cl *Cluster) SetEngine(e Engine) { cl.engine = e }

func (cl *Cluster) clusterStatus(ctx context.Context) (api.ClusterStatus, error) {
	m, err := cl.rt.Cluster()
	if err != nil || cl.engine == nil {
		return api.ClusterStatus{}, directory.ErrNoCluster
	}
	out := api.ClusterStatus{Name: cl.engine.Name(), Engine: cl.engine.Kind(), Holding: cl.node.Holding() != nil, LeaseMS: m.Self().TTL.Milliseconds(), Members: []api.ClusterMember{}}
	if err := m.Err(); err != nil {
		out.Error = err.Error()
	}
	ask, cancel := context.WithTimeout(ctx, locate.AskTimeout)
	defer cancel()
	peers, err := cl.engine.Peers(ask)
	if err != nil && out.Error == "" {
		out.Error = err.Error()
	}
	k := KeptIn(m, cl.remembered())
	out.Daemons, out.Wanting, out.Orphaned = k.daemons, k.Wanting, k.Lost
	for _, n := range m.Nodes() {
		v := peers[n.ID().String()]
		if v.Role == "" {
			v.Role = "client"
		}
		v.NodeID, v.Name, v.Addr, v.Here, v.LeaseMS = n.ID().String(), n.Name, n.Addr, n.Here, n.TTL.Milliseconds()
		v.Owns, v.StandsBy, v.Self = k.owns[n.ID()], k.stands[n.ID()], n.ID() == cl.mesh.Self()
		out.Members = append(out.Members, v)
		delete(peers, v.NodeID)
	}
	for id, v := range peers { // admitted, and not come yet
		v.NodeID = id
		out.Members = append(out.Members, v)
	}
	return out, nil
}

// kept is how the daemons of a cluster are kept, counted.
type kept struct {
	daemons, Wanting, Lost int
	owns, stands           map[identity.NodeID]int // by node
}

// KeptIn counts what the directory says, and what this node remembers of daemons that the
// directory does not know any more: these are lost.
func KeptIn(m *directory.Member, remembered []directory.Daemon) kept {
	k := kept{owns: make(map[identity.NodeID]int), stands: make(map[identity.NodeID]int)}
	here := make(map[identity.NodeID]bool)
	for _, n := range m.Nodes() {
		here[n.ID()] = n.Here
	}
	listed := make(map[identity.EntityID]bool)
	m.Named(func(e directory.Entry) bool {
		listed[e.Entity] = true
		k.daemons++
		k.owns[e.Owner]++
		if len(e.Standbys) < e.Want {
			k.Wanting++
		}
		lost := !here[e.Owner]
		for _, n := range e.Standbys {
			k.stands[n]++
			lost = lost && !here[n]
		}
		if lost {
			k.Lost++
		}
		return false
	})
	session, _ := m.Lease()
	for _, d := range remembered {
		if listed[d.Entity] {
			continue
		}
		if k.daemons++; session != 0 { // else the directory has not been heard yet
			k.Lost++
		}
	}
	return k
}

// KeptOf is where a daemon's standbys are; nil on a node of no cluster.
func (cl *Cluster) KeptOf(id identity.EntityID) *api.Kept {
	m, err := cl.rt.Cluster()
	if err != nil {
		return nil
	}
	e, ok := m.Look(id)
	if !ok {
		return nil
	}
	k := &api.Kept{Standbys: e.Want, InSync: []string{}, Ack: e.Ack.String()}
	for _, n := range e.Standbys {
		k.InSync = append(k.InSync, n.String())
	}
	return k
}

// GetCluster answers with the state of the cluster as this member sees it.
func (cl *Cluster) GetCluster(w http.ResponseWriter, r *http.Request) error {
	out, err := cl.clusterStatus(r.Context())
	if err != nil {
		return err
	}
	return web.WriteJSON(w, out)
}

// Joins refuses peers that have not the right to come to the cluster, and are not in it.
func (cl *Cluster) Joins(h web.Handler) web.Handler {
	needs := cl.guard.Needs(trust.RightJoin, h)
	return func(w http.ResponseWriter, r *http.Request) error {
		if from, ok := wire.PeerOf(r.Context()); ok && cl.IsMember(from) {
			return cl.guard.Admitted(w, r, h)
		}
		return needs(w, r)
	}
}

// IsMember reports whether a peer is a member of this node's cluster, under the key that
// it has here.
func (cl *Cluster) IsMember(id identity.NodeID) bool {
	m, err := cl.rt.Cluster()
	if err != nil {
		return false
	}
	p, err := cl.mesh.FindPeer(id.String())
	return err == nil && slices.ContainsFunc(m.Nodes(), func(n directory.NodeState) bool { return n.Key == p.Key })
}

// PostMember lets the node that asks come to the cluster.
func (cl *Cluster) PostMember(w http.ResponseWriter, r *http.Request) error {
	from, ok := wire.PeerOf(r.Context())
	if !ok {
		return fmt.Errorf("%w: a node comes to a cluster by itself: serve --cluster --join TOKEN", api.ErrBadRequest)
	}
	var a api.Admission
	if err := web.ReadJSON(w, r, &a); err != nil {
		return err
	}
	if cl.engine == nil {
		return directory.ErrNoCluster
	}
	out, err := cl.engine.Admit(r.Context(), from, a)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, out)
}

// Removable returns the node of the cluster that text names, if it can be forgotten: a node
// that is here cannot.
func (cl *Cluster) Removable(text string) (*directory.NodeState, error) {
	m, err := cl.rt.Cluster()
	if err != nil || cl.engine == nil {
		return nil, directory.ErrNoCluster
	}
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return nil, err
	}
	var found *directory.NodeState
	for _, n := range m.Nodes() {
		if ref.NamesNode(n.ID(), n.Key, n.Name) {
			if found != nil {
				return nil, &wire.AmbiguousError{Ref: text, Nodes: []identity.NodeID{found.ID(), n.ID()}}
			}
			found = &n
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w in the cluster: %q", mesh.ErrUnknownNode, text)
	}
	if found.Here {
		return nil, fmt.Errorf("%w: %s", problem.ErrStillHere, text)
	}
	return found, nil
}

// DeleteMember forgets a node that is gone for good.
func (cl *Cluster) DeleteMember(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("node")
	found, err := cl.Removable(text)
	if err != nil {
		return err
	}
	m, err := cl.rt.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := cl.engine.Remove(ctx, found.ID()); err != nil {
		return err
	}
	if err := m.Remove(ctx, found.Node); errors.Is(err, directory.ErrConflict) {
		return fmt.Errorf("%w: %s", problem.ErrStillHere, text)
	} else if err != nil {
		return err
	}
	if err := cl.mesh.Forget(found.Key); err != nil {
		return err
	}
	return web.WriteJSON(w, api.ClusterMember{NodeID: found.ID().String(), Name: found.Name, Addr: found.Addr})
}

// AskIn asks a peer to let this node come to its cluster.
func AskIn(ctx context.Context, m *wire.Mesh, at identity.NodeID, a api.Admission) (api.Admitted, error) {
	return locate.PeerClient(m, at).Cluster().Admit(ctx, a)
}
