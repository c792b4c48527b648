// Package engine is a node's part in its cluster's engine: the etcd that keeps the
// cluster's directory, either one that nodes run among themselves or an operator's own.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// A node comes to its cluster's engine so:
//
//	an etcd is named               | it asks that etcd; which nodes are there is in it
//	it was a voter before          | it starts its member of the embedded engine again
//	a node that it trusts is in it | that one admits it: the first few vote, the others ask those
//	none is                        | it begins a cluster, with one vote

// Options say which cluster a node is in.
type Options struct {
	Name        string
	Listen      string // TCP, for the members of an embedded engine; empty: at the node's address
	Voters      int    // how many members an embedded engine gets
	Lease       time.Duration
	JoinTimeout time.Duration // how long the node asks to be let in

	Etcd                      []string // URLs; none: the embedded engine
	EtcdCA, EtcdCert, EtcdKey string   // files, PEM
	EtcdUser, EtcdPassword    string

	Dir string            // where the node keeps its part; it is made
	Key *identity.KeyPair // the node's

	Older func(life []byte) (bool, error) // whether the node's store is older than that life of it
}

// Engine is a node's part in its cluster's engine. It implements
// server.Engine.
type Engine struct {
	o      Options
	mesh   *wire.Mesh
	logger *slog.Logger
	member *etcd.Member          // nil: this node has none
	client *clientv3.Client      // of the member, or of an etcd that is not the nodes'
	remote *wire.DirectoryClient // where the node has neither: asks nodes with a vote
	guard  *directory.Guard      // with member: what other nodes ask
	done   <-chan struct{}       // closed when the member ended by itself; nil: never
	cancel context.CancelFunc
	work   sync.WaitGroup

	restart chan struct{} // closed when the node is to restart, for another part in the cluster
	once    sync.Once     // of restart
	state   *state

	view    *directory.Member // set before the member runs
	granted sync.Map          // identity.NodeID → struct{}: whose grants this process has looked after
}

// Start opens the node's part. peer is the node that this one has just joined;
// 0: none.
func Start(ctx context.Context, o Options, mesh *wire.Mesh, peer identity.NodeID, logger *slog.Logger) (_ *Engine, err error) {
	e := &Engine{o: o, mesh: mesh, logger: logger, restart: make(chan struct{})}
	if len(o.Etcd) > 0 {
		e.client, err = etcd.Dial(etcd.DialConfig{Endpoints: o.Etcd, CAFile: o.EtcdCA, CertFile: o.EtcdCert, KeyFile: o.EtcdKey, User: o.EtcdUser, Password: o.EtcdPassword, Logger: logger})
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	dir := o.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the node's part in the cluster: %w", err)
	}
	begun, err := e.beginAnew(dir)
	if err != nil {
		return nil, err
	}
	st, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if st == nil || !st.Voter {
		if peer == 0 && st != nil {
			peer = st.follows()
		}
		if st, err = e.comeIn(ctx, dir, peer, st); err != nil {
			return nil, err
		}
	}
	e.state = st
	if st.Name != o.Name {
		return nil, fmt.Errorf("%w: this node is in cluster %q, not %q", problem.ErrOtherCluster, st.Name, o.Name)
	}
	if !st.Voter {
		voters, err := nodeIDs(st.Voters)
		if err != nil {
			return nil, fmt.Errorf("reading the node's part in its cluster: %w", err)
		}
		e.remote = mesh.AskDirectory(o.Name, voters)
		return e, nil
	}
	moved := false
	if e.member == nil {
		if begun == nil {
			if err = e.refuseOlder(ctx); err != nil {
				return nil, err
			}
		}
		if moved, err = e.placeMember(dir, st); err != nil {
			return nil, err
		}
		if e.member, err = e.startMember(dir, st); err != nil {
			return nil, err
		}
	}
	if begun != nil {
		if err := e.seed(ctx, dir, begun); err != nil {
			return nil, errors.Join(err, e.member.Close())
		}
	}
	e.serve()
	if begun != nil {
		e.call(begun)
	}
	if moved {
		ctx, cancel := context.WithCancel(context.Background())
		e.work.Go(func() { e.member.Moved(ctx, st.Reach) })
		stop := e.cancel
		e.cancel = func() { stop(); cancel() }
	}
	return e, nil
}

// serve lets the other nodes ask the member, and lets learners vote.
func (e *Engine) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	e.client, e.cancel, e.done = e.member.Client(), cancel, e.member.Done()
	e.guard = directory.NewGuard(directory.GuardOptions{Engine: e.directory(), Cluster: e.o.Name, Logger: e.logger, Voters: e.list,
		RemoveVoter: func(ctx context.Context, id identity.NodeID) error { return etcd.Remove(ctx, e.client, id.String()) }})
	e.mesh.ServeDirectory(e.guard)
	e.work.Go(func() { e.member.Promote(ctx, e.o.Lease/4) })
	e.work.Go(func() { e.grantSelf(ctx) })
	context.AfterFunc(ctx, func() { e.mesh.ServeDirectory(nil) })
}

// directory is the engine as this node reaches it.
func (e *Engine) directory() directory.Engine {
	if e.remote != nil {
		return e.remote
	}
	return etcd.NewEngine(e.client, e.o.Name)
}

// Close ends the node's part; the other nodes continue. It is called once, after the
// runtime's end.
func (e *Engine) Close() error {
	if e.remote != nil {
		e.work.Wait()
		return nil
	}
	if e.member == nil {
		return e.client.Close()
	}
	e.cancel()
	e.work.Wait()
	return e.member.Close()
}

func nodeIDs(texts []string) ([]identity.NodeID, error) {
	out := make([]identity.NodeID, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = identity.ParseNodeID(text); err != nil {
			return nil, err
		}
	}
	return out, nil
}
