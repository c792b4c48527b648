package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// A node comes to a cluster so:
//
//	its token has the right to join | the node that issued it writes a grant into the directory: its key and the token's rights
//	the grant is written            | every member trusts the node with these rights
//	the rights are all, and join    | it gets a vote while there are too few, and with it the cluster's secret
//	otherwise                       | it asks the members that have a vote, through their guard
//
// A node that is in the cluster already is told whom to ask, and nothing else.

// Admit implements server.Engine.
func (e *Engine) Admit(ctx context.Context, node identity.NodeID, a api.Admission) (out api.Admitted, err error) {
	if len(e.o.Etcd) > 0 {
		return out, fmt.Errorf("%w with an engine of its own: start the node with --etcd too", directory.ErrNoCluster)
	}
	if a.Cluster != e.o.Name {
		return out, fmt.Errorf("%w: it is in cluster %q, not %q", problem.ErrOtherCluster, e.o.Name, a.Cluster)
	}
	p, err := e.mesh.FindPeer(node.String())
	if err != nil {
		return out, err
	}
	vote, list, err := e.mayVote(ctx, p, a)
	if err != nil {
		return out, err
	}
	if !vote && a.Directory != directory.ProtocolVersion {
		return out, fmt.Errorf("%w: node %s asks by version %d, this one answers version %d", directory.ErrVersion, node, a.Directory, directory.ProtocolVersion)
	}
	if err := e.letIn(ctx, p); err != nil {
		return out, err
	}
	out = api.Admitted{Cluster: e.o.Name, Voters: []string{}, Directory: directory.ProtocolVersion}
	for _, v := range list {
		if v.Name != "" && v.Name != node.String() && !v.Learner {
			out.Voters = append(out.Voters, v.Name)
		}
	}
	if !vote {
		out.Nodes, err = e.introductions(ctx, out.Voters)
		return out, err
	}
	st, err := readState(e.o.Dir)
	if err != nil {
		return out, err
	}
	secret, err := st.secret(e.o.Key)
	if err != nil {
		return out, err
	}
	if out.Others, err = e.member.Admit(ctx, node.String(), a.Addr); err != nil {
		return out, err
	}
	out.Voter, out.Token, out.Secret = true, st.Token, secret[:]
	return out, nil
}

// mayVote reports whether a node that comes gets a vote, and lists those that have one.
func (e *Engine) mayVote(ctx context.Context, p wire.PeerInfo, a api.Admission) (bool, []directory.Voter, error) {
	if e.remote != nil {
		list, err := e.remote.Voters(ctx)
		return false, list, err
	}
	list, err := e.list(ctx)
	others := 0
	for _, v := range list {
		if v.Name != p.ID.String() {
			others++
		}
	}
	return p.Rights&trust.RightsVoter == trust.RightsVoter && others < e.o.Voters, list, err
}

// letIn grants a node in the directory what this node's token gave it, if it is no member
// yet.
func (e *Engine) letIn(ctx context.Context, p wire.PeerInfo) error {
	is, err := directory.IsMember(ctx, e.directory(), p.Key)
	if err != nil || is {
		return err
	}
	if p.Rights&trust.RightJoin == 0 {
		return fmt.Errorf("%w: coming to the cluster, which needs join", trust.ErrDenied)
	}
	return directory.SetGrant(ctx, e.directory(), directory.Grant{Key: p.Key, Rights: uint8(p.Rights), By: e.mesh.Self()}, false)
}

// introductions are what a node that comes is told of the members.
func (e *Engine) introductions(ctx context.Context, voters []string) ([]api.AdmittedNode, error) {
	peers, err := e.mesh.Peers()
	if err != nil {
		return nil, err
	}
	self := wire.PeerInfo{ID: e.mesh.Self(), Key: e.o.Key.ID(), Name: e.mesh.Name(), Addr: e.mesh.Reach(), Rights: trust.RightsVoter}
	known := make(map[string]wire.PeerInfo)
	for _, p := range append(peers, self) {
		known[p.ID.String()] = p
	}
	out := []api.AdmittedNode{}
	for _, id := range voters {
		if p, ok := known[id]; ok {
			out = append(out, api.AdmittedNode{Key: p.Key.String(), Name: p.Name, Addr: p.Addr, Rights: p.Rights.String()})
		}
	}
	return out, nil
}

// introduce makes a node trusted that another member let in.
func (e *Engine) introduce(g directory.Grant) {
	e.granted.Store(g.Key.Node(), struct{}{})
	if err := e.mesh.Introduce(g.Key, trust.Rights(g.Rights)); err != nil {
		e.logger.Error("a node that was let into the cluster", "node", g.Key.Node(), "error", err)
		return
	}
	for _, n := range e.view.Nodes() {
		if n.Key != g.Key {
			continue
		}
		if err := e.mesh.Met(n.Key, n.Name, n.Addr); err != nil {
			e.logger.Error("a node of the cluster", "node", n.ID(), "error", err)
		}
	}
}

// came keeps where a member is. Into an etcd of the operator's own no node is let by
// another: who can write there is trusted. A node with a vote writes the grant of a
// member that has none: it came before there were any.
func (e *Engine) came(m *directory.Member, n directory.Node) {
	if len(e.o.Etcd) > 0 {
		if err := e.mesh.Introduce(n.Key, trust.RightsAll); err != nil {
			e.logger.Error("a node of the cluster", "node", n.ID(), "error", err)
		}
	}
	if err := e.mesh.Met(n.Key, n.Name, n.Addr); err != nil {
		e.logger.Warn("a node of the cluster that no member has introduced: it is not trusted", "node", n.ID(), "error", err)
		return
	}
	if _, ok := m.Granted(n.ID()); ok || e.member == nil {
		return
	}
	if _, looked := e.granted.LoadOrStore(n.ID(), struct{}{}); looked {
		return
	}
	p, err := e.mesh.FindPeer(n.ID().String())
	if err != nil || p.Key != n.Key {
		return
	}
	e.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := directory.SetGrant(ctx, e.directory(), directory.Grant{Key: p.Key, Rights: uint8(p.Rights), By: e.mesh.Self()}, true); err != nil {
			e.granted.Delete(n.ID()) // it is tried when the node comes again
			e.logger.Warn("telling the cluster what a node is granted", "node", p.ID, "error", err)
		}
	})
}

// grantSelf writes this node's own grant, where there is none: it has a vote, so it may
// all. It tries until it is written or ctx ends.
func (e *Engine) grantSelf(ctx context.Context) {
	tick := time.NewTicker(max(e.o.Lease/4, 100*time.Millisecond))
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := directory.SetGrant(ask, e.directory(), directory.Grant{Key: e.o.Key.ID(), Rights: uint8(trust.RightsVoter), By: e.mesh.Self()}, true)
		cancel()
		if err == nil || errors.Is(err, directory.ErrRemoved) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
