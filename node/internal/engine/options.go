package engine

import (
	"context"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// newMember makes the node's part in the directory.
func (e *Engine) newMember() (*directory.Member, error) {
	self := directory.Node{Key: e.o.Key.ID(), Name: e.mesh.Name(), Addr: e.mesh.Reach(), TTL: e.o.Lease}
	m, err := directory.NewMember(directory.Options{Engine: e.directory(), Self: self, Logger: e.logger, Granted: e.introduce, Sweeps: e.remote == nil})
	if err == nil && e.guard != nil {
		e.guard.See(m)
	}
	return m, err
}

// HostOptions make a runtime a node of the cluster; moved hears where daemons are.
func (e *Engine) HostOptions(moved func(daemon.Moved)) (*host.ClusterOptions, error) {
	m, err := e.newMember()
	if err != nil {
		return nil, err
	}
	e.view = m
	e.mesh.OnJoin(func(ctx context.Context, key identity.EntityID, rights trust.Rights) {
		if rights&trust.RightJoin == 0 {
			return
		}
		if err := m.LetIn(ctx, key.Node()); err != nil {
			e.logger.Error("letting a node into the cluster: where it was removed before, have it join with another token", "node", key.Node(), "error", err)
		}
	})
	return &host.ClusterOptions{
		Member: m, Moved: moved, Gone: e.mesh.Lost,
		Removed: func(n directory.Node) {
			e.granted.Delete(n.ID())
			if err := e.mesh.Forget(n.Key); err != nil {
				e.logger.Error("a node that was removed from the cluster", "node", n.ID(), "error", err)
			}
		},
		Came: func(n directory.Node) { e.came(m, n) },
	}, nil
}
