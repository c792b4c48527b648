package groups

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// GetSighting answers with what this node alone knows of a daemon.
func (k *Keeper) GetSighting(w http.ResponseWriter, r *http.Request) error {
	id, err := identity.ParseEntityID(r.PathValue("entity"))
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	seen, err := k.Sight(id)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, seen)
}

// Sight returns what this node alone knows of a daemon.
func (k *Keeper) Sight(id identity.EntityID) (api.Sighting, error) {
	seen, err := k.place.Sight(id)
	if err != nil {
		return api.Sighting{}, err
	}
	out := api.Sighting{Coming: seen.Coming, Stopped: seen.Stopped}
	if seen.Here != nil {
		d := convert.DaemonOf(*seen.Here)
		out.Daemon = &d
	}
	if seen.Went != nil {
		out.Went = &api.Moved{NodeID: seen.Went.Node.String(), Epoch: seen.Went.Epoch}
	}
	return out, nil
}

// groupNodes is what the groups that this node keeps do to nodes: group.Nodes.
type groupNodes struct{ k *Keeper }

// Candidates implements group.Nodes.
func (n groupNodes) Candidates(ctx context.Context) ([]placement.Node, error) {
	return n.k.place.Candidates(ctx, "", true)
}

// Spawn implements group.Nodes. On another node the member is made here and moved there.
func (n groupNodes) Spawn(ctx context.Context, at identity.NodeID, r group.Replica) (identity.NodeID, uint64, error) {
	req := daemon.SpawnRequest{Kind: r.Kind, Name: r.Name, Identity: r.Key, Config: r.Config, Epoch: r.Epoch, Standbys: r.Standbys}
	var err error
	if req.Ack, err = directory.ParseAck(r.Ack); err != nil {
		return 0, 0, err
	}
	if err := n.unown(ctx, r.Key.ID(), r.Epoch); err != nil {
		return 0, 0, err
	}
	i, err := n.k.rt.Spawn(ctx, req)
	if err != nil || at == n.k.mesh.Self() {
		return i.Node, i.Epoch, err
	}
	rep, err := n.k.place.MoveFresh(ctx, i, at)
	return rep.To, rep.Epoch, err
}

// Unown implements group.Nodes.
func (n groupNodes) Unown(ctx context.Context, m group.Member) error {
	return n.unown(ctx, m.Entity, math.MaxUint64)
}

// unown takes a member out of the cluster's directory, where its owner is gone and has it
// under an epoch below before. From then on no standby takes it over. The directory decides
// between the two: where a standby was first, that is group.ErrMemberAlive.
func (n groupNodes) unown(ctx context.Context, id identity.EntityID, before uint64) error {
	m, err := n.k.rt.Cluster()
	if err != nil {
		return nil // there is none
	}
	for {
		e, err := m.Read(ctx, id)
		switch {
		case errors.Is(err, directory.ErrNotListed):
			return nil
		case err != nil:
			return err
		case m.Here(e.Owner):
			return n.owned(ctx, e)
		case e.Epoch >= before:
			return fmt.Errorf("%w: on node %s, epoch %d", group.ErrMemberAlive, e.Owner, e.Epoch)
		}
		if err = m.Delete(ctx, e); !errors.Is(err, directory.ErrConflict) {
			return err
		}
	}
}

// owned says of a member whose owner has a lease whether that one has it, or may have it.
func (n groupNodes) owned(ctx context.Context, e directory.Entry) error {
	seen, err := n.askProven(ctx, e.Owner, e.Entity)
	switch {
	case err != nil:
		return fmt.Errorf("%w: node %s, epoch %d, for as long as its lease lasts: %w", group.ErrLeased, e.Owner, e.Epoch, err)
	case seen.Daemon == nil:
		return fmt.Errorf("%w: node %s, epoch %d, is about to have it", group.ErrLeased, e.Owner, e.Epoch)
	}
	return fmt.Errorf("%w: on node %s, epoch %d", group.ErrMemberAlive, e.Owner, seen.Daemon.Epoch)
}

// Look implements group.Nodes. A member is gone where every node denies to have it, and
// where none says that it went to another.
func (n groupNodes) Look(ctx context.Context, members ...group.Member) []group.Sight {
	k, out := n.k, make([]group.Sight, len(members))
	peers, err := k.mesh.Peers()
	if err != nil {
		for i := range out {
			out[i] = group.Sight{Health: group.Silent, Reason: err.Error()}
		}
		return out
	}
	ids := []identity.NodeID{k.mesh.Self()}
	for _, p := range peers {
		at := func(m group.Member) bool { return m.Node == p.ID }
		if locate.MayOwn(p.Rights) || slices.ContainsFunc(members, at) {
			ids = append(ids, p.ID)
		}
	}
	seen, failed := make([][]api.Sighting, len(members)), make([][]error, len(members)) // by member and node
	for i := range members {
		seen[i], failed[i] = make([]api.Sighting, len(ids)), make([]error, len(ids))
	}
	var wg sync.WaitGroup
	for at, id := range ids {
		wg.Go(func() {
			var quiet error // a node that does not answer is not asked again
			for i, m := range members {
				if failed[i][at] = quiet; quiet != nil {
					continue
				}
				seen[i][at], failed[i][at] = n.askProven(ctx, id, m.Entity)
				if !errors.Is(failed[i][at], daemon.ErrUnproven) {
					quiet = failed[i][at]
				}
			}
		})
	}
	wg.Wait()
	cluster, inNone := k.rt.Cluster()
	for i, m := range members {
		out[i] = sightOf(m, ids, seen[i], failed[i])
		if inNone != nil || out[i].Health != group.Gone {
			continue
		}
		e, ok := cluster.Look(m.Entity)
		if ok && (cluster.Here(e.Owner) || !m.Outlived(e.Epoch)) {
			out[i] = group.Sight{Health: group.Silent, Reason: fmt.Sprintf("the directory says that it is on node %s", e.Owner)}
		}
	}
	return out
}

func (n groupNodes) ask(ctx context.Context, at identity.NodeID, id identity.EntityID) (api.Sighting, error) {
	if at == n.k.mesh.Self() {
		return n.k.Sight(id)
	}
	ctx, cancel := context.WithTimeout(ctx, locate.AskTimeout)
	defer cancel()
	return locate.PeerClient(n.k.mesh, at).Daemons().LocalStatus(ctx, id)
}

// AskProven asks a node what it knows of a daemon; one that says that it has it proves that.
func (k *Keeper) AskProven(ctx context.Context, at identity.NodeID, id identity.EntityID) (api.Sighting, error) {
	return groupNodes{k}.askProven(ctx, at, id)
}

// askProven is ask, where a node that says that it has the daemon proves it.
func (n groupNodes) askProven(ctx context.Context, at identity.NodeID, id identity.EntityID) (api.Sighting, error) {
	seen, err := n.ask(ctx, at, id)
	if err != nil || seen.Daemon == nil || at == n.k.mesh.Self() {
		return seen, err
	}
	ctx, cancel := context.WithTimeout(ctx, locate.AskTimeout)
	defer cancel()
	p, err := n.k.rt.Believe(ctx, id, at, 0)
	if err == nil && p.Node != at {
		err = fmt.Errorf("node %s has it", p.Node)
	}
	if err != nil {
		return api.Sighting{}, fmt.Errorf("%w: node %s claims daemon %s: %w", daemon.ErrUnproven, at, id.Origin(), err)
	}
	return seen, nil
}

// sightOf is what the answers of all nodes say of a member together.
func sightOf(m group.Member, ids []identity.NodeID, seen []api.Sighting, failed []error) group.Sight {
	best, stopped, asked := -1, uint64(0), false
	var doubts []string
	var older []identity.NodeID
	for i, s := range seen {
		asked = asked || ids[i] == m.Node
		stopped = max(stopped, s.Stopped)
		if s.Daemon != nil && (best < 0 || s.Daemon.Epoch > seen[best].Daemon.Epoch) {
			best = i
		}
		if s.Daemon != nil && m.Outlived(s.Daemon.Epoch) {
			older = append(older, ids[i])
			doubts = append(doubts, fmt.Sprintf("node %s has the one that was declared lost, epoch %d", ids[i], s.Daemon.Epoch))
		}
		switch {
		case failed[i] != nil && slices.Contains(m.Lost, ids[i]): // what it may have is stopped when it is back
		case failed[i] != nil:
			doubts = append(doubts, fmt.Sprintf("node %s: %s", ids[i], locate.Why(failed[i])))
		case s.Coming:
			doubts = append(doubts, fmt.Sprintf("node %s is about to have it", ids[i]))
		}
	}
	if best >= 0 && seen[best].Daemon.Epoch >= m.Epoch {
		d := seen[best].Daemon
		out := group.Sight{Health: group.Healthy, Node: ids[best], Epoch: d.Epoch, Older: older}
		if d.State == "failed" || d.State == "diverged" || d.State == "refused" {
			out.Health, out.Reason = group.Failed, d.State+": "+d.Reason
		}
		return out
	}
	for i, s := range seen {
		if s.Went != nil && s.Went.Epoch > stopped && !m.Outlived(s.Went.Epoch) {
			doubts = append(doubts, fmt.Sprintf("it went from node %s to %s, which does not have it", ids[i], s.Went.NodeID))
		}
	}
	if !asked && !slices.Contains(m.Lost, m.Node) {
		doubts = append(doubts, fmt.Sprintf("node %s, where it was last, is not asked: it is not trusted", m.Node))
	}
	if len(doubts) > 0 {
		return group.Sight{Health: group.Silent, Reason: strings.Join(doubts, "; "), Older: older}
	}
	return group.Sight{Health: group.Gone, Reason: "no node has it"}
}

// Stop implements group.Nodes.
func (n groupNodes) Stop(ctx context.Context, m group.Member) error {
	at := n.Look(ctx, m)[0]
	if len(at.Older) > 0 {
		for _, older := range at.Older {
			if err := n.StopAt(ctx, older, m); err != nil {
				return err
			}
		}
		at = n.Look(ctx, m)[0]
	}
	switch at.Health {
	case group.Gone:
		return nil
	case group.Silent:
		return fmt.Errorf("%w: %s", mesh.ErrUnreachable, at.Reason)
	default:
		return n.stop(ctx, at.Node, m.Entity, at.Epoch)
	}
}

// StopAt implements group.Nodes.
func (n groupNodes) StopAt(ctx context.Context, at identity.NodeID, m group.Member) error {
	seen, err := n.ask(ctx, at, m.Entity)
	if err != nil || seen.Daemon == nil || seen.Daemon.Epoch >= m.Epoch {
		return err
	}
	return n.stop(ctx, at, m.Entity, seen.Daemon.Epoch)
}

// stop ends the daemon that is there under that epoch.
func (n groupNodes) stop(ctx context.Context, at identity.NodeID, id identity.EntityID, epoch uint64) error {
	if at == n.k.mesh.Self() {
		return n.k.StopAt(ctx, id, epoch)
	}
	_, err := locate.PeerClient(n.k.mesh, at).Daemons().RemoveAt(ctx, id.String(), epoch)
	return err
}

// StopAt stops the daemon where it is here, and under that epoch; errOtherEpoch.
func (k *Keeper) StopAt(ctx context.Context, id identity.EntityID, epoch uint64) error {
	switch d, err := k.place.Inspect(id); {
	case err != nil:
		return err
	case d.Epoch != epoch:
		return fmt.Errorf("%w: %s is at epoch %d, not %d", problem.ErrOtherEpoch, id.Origin(), d.Epoch, epoch)
	}
	return k.place.Remove(ctx, id)
}
