package engine

import (
	"context"

	"wasmhost.example/api"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
)

// Name implements server.Engine.
func (e *Engine) Name() string { return e.o.Name }

// Kind implements server.Engine.
func (e *Engine) Kind() string {
	if len(e.o.Etcd) > 0 {
		return "etcd"
	}
	return "embedded"
}

// Peers implements server.Engine.
func (e *Engine) Peers(ctx context.Context) (map[string]api.ClusterMember, error) {
	out := make(map[string]api.ClusterMember)
	if len(e.o.Etcd) > 0 {
		return out, nil
	}
	ask := e.list
	if e.remote != nil {
		ask = e.remote.Voters
	}
	list, err := ask(ctx)
	for _, p := range list {
		role := "voter"
		if p.Learner {
			role = "learner"
		}
		if p.Name != "" {
			out[p.Name] = api.ClusterMember{Role: role, Leader: p.Leader, Peer: p.Addr}
		}
	}
	return out, err
}

// list returns the members as the one of this node knows them.
func (e *Engine) list(ctx context.Context) ([]directory.Voter, error) {
	list, err := e.member.Members(ctx)
	out := make([]directory.Voter, len(list))
	for i, p := range list {
		out[i] = directory.Voter{Name: p.Name, Addr: p.Addr, Learner: p.Learner, Leader: p.Leader}
	}
	return out, err
}

// Remove implements server.Engine.
func (e *Engine) Remove(ctx context.Context, node identity.NodeID) error {
	if len(e.o.Etcd) > 0 {
		return nil
	}
	if e.remote != nil {
		return e.remote.RemoveVoter(ctx, node)
	}
	return etcd.Remove(ctx, e.client, node.String())
}
