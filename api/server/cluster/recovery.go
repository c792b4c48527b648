package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// A cluster that has lost its directory for good is recovered on one of the nodes that
// are left, in this order:
//
//	survey   | every trusted node says which copies it has, and what it remembers of the directory
//	prove    | the chain of each copy is read from its node and verified here
//	choose   | of each daemon the copy that goes furthest; what no copy proves is lost
//	promote  | its node makes it the daemon, under a higher epoch than any that was proven or remembered
//	begin    | this node begins a new directory, which names these owners, and has the other nodes come to it
//
// A dry run ends before promote. Until begin nothing is decided that a second run does not
// find again; a promoted copy is the longest then.

// NewDirectory is what a directory begins with that takes the place of one that is lost.
type NewDirectory struct {
	Daemons []directory.Daemon
	Nodes   []identity.NodeID // that are left, beside this one: they are to come to it
	Silent  []directory.Node  // that did not answer
}

// surveyTime bounds what is asked of one node, but for chains; chainTime bounds one chain.
const (
	surveyTime = 5 * time.Minute
	chainTime  = 5 * time.Minute
)

// provers is how many chains are verified, and copies promoted, at a time.
const provers = 8

// maxEpochAhead bounds how far a remembered epoch may be ahead of all proven ones to
// count: one that is not proven raises no epoch without bound.
const maxEpochAhead = 1 << 20

// PostRecovery recovers the cluster from here.
func (cl *Cluster) PostRecovery(w http.ResponseWriter, r *http.Request) error {
	var req api.RecoveryRequest
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if cl.engine == nil {
		return directory.ErrNoCluster
	}
	if cl.engine.Kind() != "embedded" {
		return problem.ErrNotEmbedded
	}
	if !cl.recovering.TryLock() {
		return problem.ErrRecovering
	}
	defer cl.recovering.Unlock()
	if err := cl.copies.WithoutDirectory(r.Context()); err != nil {
		return err
	}
	v, err := cl.survey(r.Context())
	if err != nil {
		return err
	}
	v.prove(r.Context())
	out, begin := v.choose(r.Context(), req.DryRun)
	if err := r.Context().Err(); err != nil {
		return context.Cause(r.Context())
	}
	if !req.DryRun {
		if err := cl.engine.Recover(r.Context(), begin); err != nil {
			return err
		}
	}
	return web.WriteJSON(w, out)
}

// survey is what the nodes that are left have, and what they remember.
type survey struct {
	cl     *Cluster
	nodes  []api.SurveyedNode
	left   []identity.NodeID // that answer, beside this node
	silent []directory.Node
	copies map[identity.EntityID][]host.Candidate
	known  map[identity.EntityID]directory.Daemon // as the node knew it that had heard the latest epoch
}

// survey asks every trusted node.
func (cl *Cluster) survey(ctx context.Context) (*survey, error) {
	v := &survey{cl: cl, copies: make(map[identity.EntityID][]host.Candidate), known: make(map[identity.EntityID]directory.Daemon)}
	peers, err := cl.mesh.Peers()
	if err != nil {
		return nil, err
	}
	_, silent, err := locate.AskThese(ctx, cl.find, peers, func(ctx context.Context, c *client.Client) (api.Node, error) { return c.Node().Get(ctx) })
	if err != nil {
		return nil, err
	}
	var own []api.Copy
	for _, c := range cl.copies.List() {
		own = append(own, convert.CopyOf(c, cl.copies.Index(c.Entity)))
	}
	v.take(cl.mesh.Self(), own, nil)
	for _, d := range cl.remembered() {
		v.remember(d)
	}
	v.nodes = append(v.nodes, api.SurveyedNode{NodeID: cl.mesh.Self().String(), Name: cl.mesh.Name(), Answer: "answers", Copies: len(own)})
	for _, p := range peers {
		n := api.SurveyedNode{NodeID: p.ID.String(), Name: p.Name, Answer: "silent"}
		if !slices.Contains(silent, p.ID) {
			n.Answer, n.Copies = v.ask(ctx, p.ID)
		}
		if n.Answer == "silent" {
			v.silent = append(v.silent, directory.Node{Key: p.Key, Name: p.Name, Addr: p.Addr, TTL: directory.MinTTL})
		}
		v.nodes = append(v.nodes, n)
	}
	return v, nil
}

// ask takes in what one node has and remembers.
func (v *survey) ask(ctx context.Context, id identity.NodeID) (answer string, copies int) {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	c := locate.PeerClient(v.cl.mesh, id)
	list, err := c.Cluster().Copies(ctx)
	var known []api.KnownDaemon
	if err == nil {
		known, err = c.Cluster().Known(ctx)
	}
	if err != nil {
		v.cl.logger.Warn("a node does not say what it has of the cluster's daemons", "node", id, "error", err)
		if errors.As(err, new(*api.Problem)) {
			return "refuses", 0
		}
		return "silent", 0
	}
	v.left = append(v.left, id)
	v.take(id, list, known)
	return "answers", len(list)
}

func (v *survey) take(id identity.NodeID, list []api.Copy, known []api.KnownDaemon) {
	for _, c := range list {
		h, err := convert.HostCopy(&c)
		if err != nil {
			v.cl.logger.Warn("a node names no daemon", "node", id, "error", err)
			continue
		}
		v.copies[h.Entity] = append(v.copies[h.Entity], host.Candidate{Node: id, Copy: h})
	}
	for _, k := range known {
		d, err := convert.DirectoryDaemon(&k)
		if err != nil {
			v.cl.logger.Warn("a node remembers what no directory says", "node", id, "error", err)
			continue
		}
		v.remember(d)
	}
}

func (v *survey) remember(d directory.Daemon) {
	if was, ok := v.known[d.Entity]; !ok || was.Epoch < d.Epoch {
		v.known[d.Entity] = d
	}
}

// each calls fn with each of the daemons, several at a time.
func each(ids []identity.EntityID, fn func(identity.EntityID)) {
	next := make(chan identity.EntityID)
	var work sync.WaitGroup
	for range provers {
		work.Go(func() {
			for id := range next {
				fn(id)
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	work.Wait()
}

// prove reads and verifies the chain of every copy.
func (v *survey) prove(ctx context.Context) {
	each(v.entities(), func(id identity.EntityID) {
		for i := range v.copies[id] {
			c := &v.copies[id][i]
			c.End, c.Err = v.standing(ctx, c.Node, id)
		}
	})
}

func (v *survey) standing(ctx context.Context, node identity.NodeID, id identity.EntityID) (chain.End, error) {
	ctx, cancel := context.WithTimeout(ctx, chainTime)
	defer cancel()
	if node != v.cl.mesh.Self() {
		file, err := locate.PeerClient(v.cl.mesh, node).Cluster().CopyChain(ctx, id)
		if err != nil {
			return chain.End{}, err
		}
		defer file.Close()
		return chain.EndOf(id, file)
	}
	file, w := io.Pipe()
	go func() { w.CloseWithError(v.cl.copies.Export(ctx, id, w)) }()
	defer file.Close()
	return chain.EndOf(id, file)
}

// entities returns every daemon that a node has or remembers, by name.
func (v *survey) entities() []identity.EntityID {
	var out []identity.EntityID
	for id := range v.copies {
		out = append(out, id)
	}
	for id := range v.known {
		if v.copies[id] == nil {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b identity.EntityID) int {
		if c := strings.Compare(v.name(a), v.name(b)); c != 0 {
			return c
		}
		return slices.Compare(a[:], b[:])
	})
	return out
}

func (v *survey) name(id identity.EntityID) string {
	if d, ok := v.known[id]; ok {
		return d.Name
	}
	for _, c := range v.copies[id] {
		if c.Name != "" {
			return c.Name
		}
	}
	return id.Origin().String()
}

// epoch is under which a daemon goes on: above all that was proven, and above what was
// remembered where that is not far ahead of it.
func (v *survey) epoch(id identity.EntityID) uint64 {
	var top uint64
	for _, c := range v.copies[id] {
		if c.Err == nil {
			top = max(top, c.End.Epoch)
		}
	}
	proven := top
	for _, epoch := range append(claimed(v.copies[id]), v.known[id].Epoch) {
		if epoch > top && epoch-proven <= maxEpochAhead {
			top = epoch
		}
	}
	return top + 1
}

func claimed(candidates []host.Candidate) (out []uint64) {
	for _, c := range candidates {
		out = append(out, c.Copy.Epoch)
	}
	return out
}

// choose picks the copy of each daemon by which it goes on, and has it promoted unless the
// run is dry.
func (v *survey) choose(ctx context.Context, dry bool) (api.Recovery, NewDirectory) {
	out := api.Recovery{Cluster: v.cl.engine.Name(), DryRun: dry, Nodes: v.nodes, Daemons: []api.RecoveredDaemon{}, Lost: []api.LostDaemon{}}
	begin := NewDirectory{Nodes: v.left, Silent: v.silent}
	var mu sync.Mutex
	ids := v.entities()
	place := make(map[identity.EntityID]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	each(ids, func(id identity.EntityID) {
		if v.stopped(ctx, id) {
			return
		}
		r, d := v.goOn(ctx, id, dry)
		mu.Lock()
		defer mu.Unlock()
		if r == nil {
			out.Lost = append(out.Lost, v.lost(id))
			return
		}
		out.Daemons = append(out.Daemons, *r)
		begin.Daemons = append(begin.Daemons, d)
	})
	order := func(text string) int {
		id, _ := identity.ParseEntityID(text) // it was written by this node
		return place[id]
	}
	slices.SortFunc(out.Daemons, func(a, b api.RecoveredDaemon) int { return order(a.Entity) - order(b.Entity) })
	slices.SortFunc(out.Lost, func(a, b api.LostDaemon) int { return order(a.Entity) - order(b.Entity) })
	return out, begin
}

// stopped reports whether the last owner of a daemon that it has not, says that it was
// stopped there.
func (v *survey) stopped(ctx context.Context, id identity.EntityID) bool {
	known, ok := v.known[id]
	if !ok {
		return false
	}
	for _, c := range v.copies[id] {
		if c.Owned {
			return false
		}
	}
	var seen api.Sighting
	var err error
	switch {
	case known.Owner == v.cl.mesh.Self():
		seen, err = v.cl.sight(id)
	case slices.Contains(v.left, known.Owner):
		ctx, cancel := context.WithTimeout(ctx, locate.AskTimeout)
		defer cancel()
		seen, err = locate.PeerClient(v.cl.mesh, known.Owner).Daemons().LocalStatus(ctx, id)
	default:
		return false
	}
	return err == nil && seen.Stopped >= known.Epoch
}

// goOn picks a daemon's longest copy; one that its node does not promote counts no more.
// It returns nil if there is none.
func (v *survey) goOn(ctx context.Context, id identity.EntityID, dry bool) (*api.RecoveredDaemon, directory.Daemon) {
	epoch := v.epoch(id)
	for {
		best := host.Longest(v.copies[id])
		if best < 0 {
			return nil, directory.Daemon{}
		}
		c := &v.copies[id][best]
		known := v.known[id]
		r := &api.RecoveredDaemon{Entity: id.String(), Name: v.name(id), Node: c.Node.String(), Epoch: epoch, Sequence: c.End.Sequence, Head: c.End.Head.String(), Complete: c.Complete()}
		d := directory.Daemon{Entity: id, Name: r.Name, Owner: c.Node, Epoch: epoch, Want: known.Want, Ack: known.Ack}
		if !dry {
			err := v.promote(ctx, c, id, epoch)
			if err != nil && c.Owned { // it is here, and needs no promotion
				v.cl.logger.Warn("a daemon keeps its epoch", "daemon", id.Origin(), "node", c.Node, "error", err)
				r.Epoch, r.NotRaised = c.End.Epoch, err.Error()
				d.Epoch = r.Epoch
				err = nil
			}
			if err != nil {
				v.cl.logger.Warn("a copy was not promoted", "daemon", id.Origin(), "node", c.Node, "error", err)
				c.Err = err
				continue
			}
		}
		r.Copies = v.surveyed(id)
		return r, d
	}
}

func (v *survey) promote(ctx context.Context, c *host.Candidate, id identity.EntityID, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, chainTime)
	defer cancel()
	if c.Node == v.cl.mesh.Self() {
		return v.cl.copies.Promote(ctx, id, c.End, epoch)
	}
	return locate.PeerClient(v.cl.mesh, c.Node).Cluster().Promote(ctx, api.Promotion{Entity: id.String(), Epoch: c.End.Epoch, Sequence: c.End.Sequence, Head: c.End.Head.String(), To: epoch})
}

func (v *survey) surveyed(id identity.EntityID) []api.SurveyedCopy {
	out := []api.SurveyedCopy{}
	for _, c := range v.copies[id] {
		s := api.SurveyedCopy{Node: c.Node.String(), Copy: convert.CopyOf(c.Copy, c.Index), ProvenEpoch: c.End.Epoch, ProvenSequence: c.End.Sequence}
		if c.Err != nil {
			s.Error = c.Err.Error()
		}
		out = append(out, s)
	}
	return out
}

func (v *survey) lost(id identity.EntityID) api.LostDaemon {
	known := v.known[id]
	out := api.LostDaemon{Entity: id.String(), Name: v.name(id), Epoch: known.Epoch, Reason: "no node that answers has a copy", Copies: v.surveyed(id)}
	if known.Owner != 0 {
		out.Owner = known.Owner.String()
	}
	if len(out.Copies) > 0 {
		out.Reason = "no copy proves its chain"
	}
	return out
}

// PutDirectory has this node come to the new directory of the node that asks.
func (cl *Cluster) PutDirectory(w http.ResponseWriter, r *http.Request) error {
	from, ok := wire.PeerOf(r.Context())
	if !ok {
		return fmt.Errorf("%w: the node that has begun a new directory asks this", api.ErrBadRequest)
	}
	var to api.ToDirectory
	if err := web.ReadJSON(w, r, &to); err != nil {
		return err
	}
	if cl.engine == nil || cl.engine.Kind() != "embedded" {
		return directory.ErrNoCluster
	}
	if to.Cluster != cl.engine.Name() {
		return fmt.Errorf("%w: it is in cluster %q, not %q", problem.ErrOtherCluster, cl.engine.Name(), to.Cluster)
	}
	if err := cl.copies.WithoutDirectory(r.Context()); err != nil {
		return err
	}
	if err := cl.engine.Follow(r.Context(), from); err != nil {
		return err
	}
	return web.WriteJSON(w, to)
}

// AskToDirectory has a peer come to the directory that this node has begun.
func AskToDirectory(ctx context.Context, m *wire.Mesh, at identity.NodeID, cluster string) error {
	return locate.PeerClient(m, at).Cluster().FollowDirectory(ctx, cluster)
}
