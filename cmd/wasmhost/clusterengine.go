package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"wasmhost.example/api"
	"wasmhost.example/api/server"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// A node comes to its cluster's engine so:
//
//	--etcd                         | it asks that etcd; which nodes are there is in it
//	it was a voter before          | it starts its member of the embedded engine again
//	a node that it trusts is in it | that one admits it: the first few vote, the others ask those
//	none is                        | it begins a cluster, with one vote

// clusterEngine is a node's part in its cluster's engine. It implements
// server.Engine.
type clusterEngine struct {
	o      clusterOptions
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
	state   *engineState

	view    *directory.Member // set before the member runs
	granted sync.Map          // identity.NodeID → struct{}: whose grants this process has looked after
}

// engineState is what a node keeps of its part in the embedded engine.
type engineState struct {
	Name   string   `json:"name"`           // the cluster's
	Voter  bool     `json:"voter"`          // it has a member
	Addr   string   `json:"addr"`           // where that listens
	Reach  string   `json:"reach"`          // where others reach it
	Node   string   `json:"node,omitempty"` // where the node listened then, by UDP
	Token  string   `json:"token"`          // of the engine's cluster
	Others string   `json:"others"`         // the members when it came; empty: it began the cluster
	Secret []byte   `json:"secret"`         // sealed by the node's key
	Key    string   `json:"key"`            // public, of the secret
	Voters []string `json:"voters"`         // whom to ask, where it has none

	Follows string `json:"follows,omitempty"` // the node that began the directory anew, until this one has come to it
}

// secretLink is what a cluster's secret at rest is bound to.
var secretLink = []byte("wasmhost secret of a cluster")

// startEngine opens the node's part. peer is the node that this one has just joined;
// 0: none. It returns nil where the node is to be in no cluster.
func startEngine(ctx context.Context, o clusterOptions, mesh *wire.Mesh, peer identity.NodeID, logger *slog.Logger) (_ *clusterEngine, err error) {
	if !o.on() {
		return nil, nil
	}
	e := &clusterEngine{o: o, mesh: mesh, logger: logger, restart: make(chan struct{})}
	if len(o.etcd) > 0 {
		e.client, err = etcd.Dial(etcd.DialConfig{Endpoints: o.etcd, CAFile: o.etcdCA, CertFile: o.etcdCert, KeyFile: o.etcdKey, User: o.etcdUser, Password: o.etcdPassword, Logger: logger})
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	dir := filepath.Join(o.data, "cluster")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the node's part in the cluster: %w", err)
	}
	begun, err := e.beginAnew(dir)
	if err != nil {
		return nil, err
	}
	st, err := readEngineState(dir)
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
	if st.Name != o.name {
		return nil, fmt.Errorf("%w: this node is in cluster %q, not %q", server.ErrOtherCluster, st.Name, o.name)
	}
	if !st.Voter {
		voters, err := nodeIDs(st.Voters)
		if err != nil {
			return nil, fmt.Errorf("reading the node's part in its cluster: %w", err)
		}
		e.remote = mesh.AskDirectory(o.name, voters)
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

// placeMember gives a member that was elsewhere before an address here, and reports
// whether it has another now. It stays where it was unless it is told another host or
// port, the node itself has another port, or the address is taken or is none of this
// machine's.
func (e *clusterEngine) placeMember(dir string, st *engineState) (bool, error) {
	stays, err := e.memberStays(st)
	if stays || err != nil {
		return false, err
	}
	if st.Addr, st.Reach, err = e.memberAddr(); err != nil {
		return false, err
	}
	st.Node = e.mesh.Addr().String()
	e.logger.Info("the node's part in the cluster's directory has another address", "address", st.Reach)
	return true, writeEngineState(dir, st)
}

// memberStays reports whether the member can be where it was.
func (e *clusterEngine) memberStays(st *engineState) (bool, error) {
	host, port, err := net.SplitHostPort(st.Addr)
	reach, _, reachErr := net.SplitHostPort(st.Reach)
	if err := errors.Join(err, reachErr); err != nil {
		return false, fmt.Errorf("reading the node's part in its cluster: %w", err)
	}
	toldHost, toldPort, _ := net.SplitHostPort(e.o.listen) // empty: it is not told
	if toldHost != "" && toldHost != host || toldPort != "" && toldPort != "0" && toldPort != port {
		return false, nil
	}
	if _, was, err := net.SplitHostPort(st.Node); err == nil && e.o.listen == "" {
		if _, now, err := net.SplitHostPort(e.mesh.Addr().String()); err == nil && now != was {
			return false, nil // the member is at the node's port, where that is free
		}
	}
	for _, addr := range []string{net.JoinHostPort(reach, "0"), st.Addr} {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) {
			return false, nil
		}
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return false, fmt.Errorf("looking whether the member of the cluster's directory can be at %s: %w", st.Reach, err)
		}
	}
	return true, nil
}

// serve lets the other nodes ask the member, and lets learners vote.
func (e *clusterEngine) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	e.client, e.cancel, e.done = e.member.Client(), cancel, e.member.Done()
	e.guard = directory.NewGuard(directory.GuardOptions{Engine: e.directory(), Cluster: e.o.name, Logger: e.logger, Voters: e.list,
		RemoveVoter: func(ctx context.Context, id identity.NodeID) error { return etcd.Remove(ctx, e.client, id.String()) }})
	e.mesh.ServeDirectory(e.guard)
	e.work.Go(func() { e.member.Promote(ctx, e.o.lease/4) })
	e.work.Go(func() { e.grantSelf(ctx) })
	context.AfterFunc(ctx, func() { e.mesh.ServeDirectory(nil) })
}

// directory is the engine as this node reaches it.
func (e *clusterEngine) directory() directory.Engine {
	if e.remote != nil {
		return e.remote
	}
	return etcd.NewEngine(e.client, e.o.name)
}

// close ends the node's part; the others go on.
func (e *clusterEngine) close() error {
	if e == nil {
		return nil
	}
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

// ended is closed when the member ended by itself. It may be nil.
func (e *clusterEngine) ended() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.done
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

// comeIn asks the nodes that this one trusts to let it come to their cluster, and
// begins one where none of them is in any. The joined node is asked until it
// answers.
func (e *clusterEngine) comeIn(ctx context.Context, dir string, joined identity.NodeID, was *engineState) (*engineState, error) {
	addr, reach, err := e.memberAddr()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.o.comeIn)
	defer cancel()
	for {
		st, err := e.askIn(ctx, addr, reach, joined)
		switch {
		case err == nil && st == nil && joined != 0:
			return nil, fmt.Errorf("joining the cluster: %w: node %s, that the token is of", host.ErrNoCluster, joined)
		case err == nil && st == nil:
			if st, err = e.found(addr, reach); err == nil {
				err = writeEngineState(dir, st)
			}
			return st, err
		case err == nil && st.Voter:
			// What it was told is good for as long as nobody else comes in between: it is
			// asked again where the others are not those.
			if e.member, err = e.startMember(dir, st); err == nil {
				return st, writeEngineState(dir, st)
			}
		case err == nil:
			return st, writeEngineState(dir, st)
		case errors.Is(err, errNotLetIn):
			return nil, err
		case was != nil:
			e.logger.Warn("asking the cluster's members: those of before are taken", "error", err)
			return was, nil
		}
		e.logger.Info("joining the cluster: it is tried again", "error", err)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("joining the cluster: %w", err)
		}
	}
}

// errNotLetIn says that it is of no use to ask again.
var errNotLetIn = errors.New("the node is not let into the cluster")

// askIn asks the trusted nodes, the joined one first. It returns nil where none of
// them is in a cluster.
func (e *clusterEngine) askIn(ctx context.Context, addr, reach string, joined identity.NodeID) (*engineState, error) {
	peers, err := e.mesh.Peers()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(peers, func(a, b wire.PeerInfo) int {
		switch {
		case a.ID == joined:
			return -1
		case b.ID == joined:
			return 1
		}
		return 0
	})
	var silent, denied error
	for _, p := range peers {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		in, err := server.AskIn(ask, e.mesh, p.ID, api.Admission{Cluster: e.o.name, Addr: reach, Directory: directory.ProtocolVersion})
		cancel()
		var said *api.Problem
		if err == nil && !in.Voter && in.Directory != directory.ProtocolVersion {
			err = fmt.Errorf("%w: node %s", directory.ErrVersion, p.ID)
		}
		switch {
		case err == nil:
			return e.admitted(in, addr, reach)
		case errors.As(err, &said) && said.Code == "no-cluster":
		case errors.As(err, &said) && said.Code == "removed": // a token may let it in at this moment
			silent = fmt.Errorf("asking node %s: %w", p.ID, err)
		case errors.As(err, &said) && said.Code == "denied" && p.ID != joined:
			denied = fmt.Errorf("%w: node %s: %w", errNotLetIn, p.ID, said)
		case errors.As(err, &said) && !said.Retriable && said.Status < 500:
			return nil, fmt.Errorf("%w: %w", errNotLetIn, said)
		default:
			silent = fmt.Errorf("asking node %s: %w", p.ID, err)
		}
		if p.ID == joined {
			return nil, silent
		}
	}
	if denied != nil {
		return nil, denied
	}
	if silent != nil {
		silent = fmt.Errorf("a trusted node may be in a cluster already: start it, or trust it no more: %w", silent)
	}
	return nil, silent
}

func (e *clusterEngine) admitted(in api.Admitted, addr, reach string) (*engineState, error) {
	st := &engineState{Name: in.Cluster, Voter: in.Voter, Token: in.Token, Others: in.Others, Voters: in.Voters}
	if !in.Voter {
		return st, e.introduced(in.Nodes)
	}
	st.Addr, st.Reach, st.Node = addr, reach, e.mesh.Addr().String()
	return st, st.seal(in.Secret, e.o.key)
}

// introduced makes the members trusted that a node has been told of when it was let in.
func (e *clusterEngine) introduced(nodes []api.AdmittedNode) error {
	for _, n := range nodes {
		key, err := identity.ParseEntityID(n.Key)
		if err != nil {
			return fmt.Errorf("reading who is in the cluster: %w", err)
		}
		rights, err := wire.ParseRights(n.Rights)
		if err != nil {
			return fmt.Errorf("reading who is in the cluster: %w", err)
		}
		if err := e.mesh.Introduce(key, rights); err != nil {
			return err
		}
		if err := e.mesh.Met(key, n.Name, n.Addr); err != nil {
			return err
		}
	}
	return nil
}

// found is the state of a cluster that begins.
func (e *clusterEngine) found(addr, reach string) (*engineState, error) {
	secret, err := etcd.NewSecret()
	if err != nil {
		return nil, err
	}
	e.logger.Info("this node begins a cluster", "name", e.o.name)
	st := &engineState{Name: e.o.name, Voter: true, Addr: addr, Reach: reach, Node: e.mesh.Addr().String(), Token: e.mesh.Self().String()}
	return st, st.seal(secret[:], e.o.key)
}

func (st *engineState) seal(secret []byte, key *identity.KeyPair) error {
	defer clear(secret)
	k, err := identity.FromSeed(secret)
	if err != nil {
		return fmt.Errorf("%w: %w", etcd.ErrBadSecret, err)
	}
	defer k.Wipe()
	to, err := key.SealKey()
	if err != nil {
		return err
	}
	env, err := identity.Seal(k, to, secretLink)
	if err != nil {
		return fmt.Errorf("keeping the cluster's secret: %w", err)
	}
	st.Secret, st.Key = env.Bytes(), k.ID().String()
	return nil
}

func (st *engineState) secret(key *identity.KeyPair) (etcd.Secret, error) {
	env, err := identity.ParseEnvelope(st.Secret)
	if err != nil {
		return etcd.Secret{}, fmt.Errorf("reading the cluster's secret: %w", err)
	}
	expect, err := identity.ParseEntityID(st.Key)
	if err != nil {
		return etcd.Secret{}, fmt.Errorf("reading the cluster's secret: %w", err)
	}
	k, err := env.Open(key, secretLink, expect)
	if err != nil {
		return etcd.Secret{}, fmt.Errorf("reading the cluster's secret: %w", err)
	}
	defer k.Wipe()
	seed, err := k.Seed()
	if err != nil {
		return etcd.Secret{}, err
	}
	defer clear(seed)
	return etcd.SecretOf(seed)
}

func (e *clusterEngine) startMember(dir string, st *engineState) (*etcd.Member, error) {
	secret, err := st.secret(e.o.key)
	if err != nil {
		return nil, err
	}
	if err := roomForMember(filepath.Join(dir, "etcd")); err != nil {
		return nil, err
	}
	return etcd.Start(etcd.Config{Dir: filepath.Join(dir, "etcd"), Name: e.mesh.Self().String(), Addr: st.Addr, Reach: st.Reach, Token: st.Token, Others: st.Others,
		Secret: secret, TTL: e.o.lease, Logger: e.logger})
}

// memberAddr is where the node's member is to listen: as was said, or else at the
// address of the node, by TCP.
func (e *clusterEngine) memberAddr() (addr, reach string, err error) {
	if addr = e.o.listen; addr == "" {
		addr = e.mesh.Addr().String()
	}
	l, err := net.Listen("tcp", addr)
	if err != nil && e.o.listen == "" { // a port that the system picked for UDP may be taken
		host, _, _ := net.SplitHostPort(addr) // it is an address
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return "", "", fmt.Errorf("listening for the cluster's members: %w", err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", "", err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(e.mesh.Reach()); err != nil {
			return "", "", err
		}
	}
	return addr, net.JoinHostPort(host, port), nil
}

func readEngineState(dir string) (*engineState, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	st := &engineState{}
	if err == nil {
		err = json.Unmarshal(b, st)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the node's part in its cluster: %w", err)
	}
	return st, nil
}

func writeEngineState(dir string, st *engineState) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err == nil {
		err = (&app{}).writeTo(filepath.Join(dir, "cluster.json"), bytes.NewReader(b))
	}
	if err != nil {
		return fmt.Errorf("keeping the node's part in its cluster: %w", err)
	}
	return nil
}

// newMember makes the node's part in the directory.
func (e *clusterEngine) newMember() (*directory.Member, error) {
	self := directory.Node{Key: e.o.key.ID(), Name: e.mesh.Name(), Addr: e.mesh.Reach(), TTL: e.o.lease}
	m, err := directory.NewMember(directory.Options{Engine: e.directory(), Self: self, Logger: e.logger, Granted: e.introduce, Sweeps: e.remote == nil})
	if err == nil && e.guard != nil {
		e.guard.See(m)
	}
	return m, err
}

// options make a runtime a node of the cluster; moved hears where daemons are.
func (e *clusterEngine) options(moved func(daemon.Moved)) (*host.ClusterOptions, error) {
	m, err := e.newMember()
	if err != nil {
		return nil, err
	}
	e.view = m
	e.mesh.OnJoin(func(ctx context.Context, key identity.EntityID, rights wire.Rights) {
		if rights&wire.RightJoin == 0 {
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

// awaitLease waits until the node answers for daemons. A node whose cluster has no
// majority is ready without it after a while: others may be waiting for it to come
// up.
func (e *clusterEngine) awaitLease(ctx context.Context, rt *host.Runtime) error {
	if e == nil {
		return nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(max(10*time.Second, 3*e.o.lease))
	for {
		err := rt.Holding()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			e.logger.Warn("the node is ready without its lease: its daemons hold their events until the cluster's directory is reached", "error", err)
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// errRemoved ends a node that has no part in the cluster's engine any more.
var errRemoved = errors.New("this node's part in the cluster's directory has ended: it was removed from the cluster, or its disk failed; see the log")

// endedBy is why the member ended by itself.
func (e *clusterEngine) endedBy() error {
	if err := e.member.Err(); err != nil {
		return err
	}
	return errRemoved
}

// Name implements server.Engine.
func (e *clusterEngine) Name() string { return e.o.name }

// Kind implements server.Engine.
func (e *clusterEngine) Kind() string {
	if len(e.o.etcd) > 0 {
		return "etcd"
	}
	return "embedded"
}

// Peers implements server.Engine.
func (e *clusterEngine) Peers(ctx context.Context) (map[string]api.ClusterMember, error) {
	out := make(map[string]api.ClusterMember)
	if len(e.o.etcd) > 0 {
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
func (e *clusterEngine) list(ctx context.Context) ([]directory.Voter, error) {
	list, err := e.member.Members(ctx)
	out := make([]directory.Voter, len(list))
	for i, p := range list {
		out[i] = directory.Voter{Name: p.Name, Addr: p.Addr, Learner: p.Learner, Leader: p.Leader}
	}
	return out, err
}

// Remove implements server.Engine.
func (e *clusterEngine) Remove(ctx context.Context, node identity.NodeID) error {
	if len(e.o.etcd) > 0 {
		return nil
	}
	if e.remote != nil {
		return e.remote.RemoveVoter(ctx, node)
	}
	return etcd.Remove(ctx, e.client, node.String())
}
