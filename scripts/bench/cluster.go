package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// standby1 is one event of 128 bytes after another to a counter in C whose node keeps
// its journal in memory, answered when a standby on another node has it in memory too,
// beside 128 bytes there and back over a QUIC stream.
var standby1 = comparison{name: "standby-1", n: 2_000, setup: func(root string) ([]contender, func() error, error) {
	ping, closePing, err := pingPong(len(rawRecord))
	if err != nil {
		return nil, nil, err
	}
	ours, closeOurs, err := withStandby(root, "", 1)
	if err != nil {
		return nil, nil, err
	}
	return []contender{
		{name: "quic-go alone: 128 bytes there and back", run: func(n int) error { return spread(1, n, ping) }},
		{name: "wasmhost: acknowledged by one standby in memory", run: func(n int) error { return spread(1, n, ours) }},
	}, func() error { return errors.Join(closePing(), closeOurs()) }, nil
}}

// standby64 is durable-64 with a standby in memory for each daemon, beside itself
// without. Both nodes write to the same disk.
var standby64 = comparison{name: "standby-64", n: 40_000, setup: func(root string) ([]contender, func() error, error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return nil, nil, err
	}
	alone, closeAlone, err := durableDeliver(root, filepath.Join(dir, "alone"), 64)
	if err != nil {
		return nil, nil, err
	}
	kept, closeKept, err := withStandby(root, dir, 64)
	if err != nil {
		return nil, nil, err
	}
	return []contender{
		{name: "wasmhost: durable deliveries, 64 senders, one node", run: func(n int) error { return spread(64, n, alone) }},
		{name: "the same with a standby for each daemon", run: func(n int) error { return spread(64, n, kept) }},
	}, func() error { return errors.Join(closeAlone(), closeKept(), os.RemoveAll(dir)) }, nil
}}

// pingPong sends size bytes over a QUIC stream and waits until they are back.
func pingPong(size int) (func(int) error, func() error, error) {
	l, c, err := quicPair()
	if err != nil {
		return nil, nil, err
	}
	go func() {
		conn, err := l.Accept(ctx)
		if err != nil {
			return
		}
		s, err := conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		_, _ = io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, make([]byte, size)) // it ends with the connection
	}()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, err
	}
	message, back := make([]byte, size), make([]byte, size)
	return func(int) error {
		if _, err := s.Write(message); err != nil {
			return err
		}
		_, err := io.ReadFull(s, back)
		return err
	}, func() error { return errors.Join(c.CloseWithError(0, ""), l.Close()) }, nil
}

// memberNode is a node of a cluster whose directory is in this process.
type memberNode struct {
	rt   *host.Runtime
	mesh *wire.Mesh
	done func() error
}

// newMemberNode is a node on the data directory, or in memory without one.
func newMemberNode(dir string, mem *directory.Memory) (*memberNode, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Options{Dir: dir, Ephemeral: dir == "", Logger: quiet})
	if err != nil {
		return nil, err
	}
	m, err := directory.NewMember(directory.Options{Engine: mem.Link(), Self: directory.Node{Key: key.ID(), Addr: mesh.Addr().String(), TTL: 2 * time.Second}, Logger: quiet})
	if err != nil {
		return nil, err
	}
	came := func(n directory.Node) { // what fails shows as a standby that does not come
		_ = errors.Join(mesh.Introduce(n.Key, trust.RightsVoter), mesh.Met(n.Key, n.Name, n.Addr))
	}
	rt, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh, Logger: quiet, Cluster: &host.ClusterOptions{Member: m, Came: came}})
	if err == nil {
		err = rt.Start(ctx)
	}
	return &memberNode{rt, mesh, func() error { return errors.Join(rt.Shutdown(ctx), mesh.Close(), s.Close()) }}, err
}

// withStandby delivers to counters, each of which has a standby in sync on another
// node.
func withStandby(root, dir string, senders int) (func(int) error, func() error, error) {
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return nil, nil, err
	}
	mem := directory.NewMemory()
	at := func(name string) string {
		if dir == "" {
			return ""
		}
		return filepath.Join(dir, name)
	}
	a, err := newMemberNode(at("a"), mem)
	if err != nil {
		return nil, nil, err
	}
	b, err := newMemberNode(at("b"), mem)
	if err != nil {
		return nil, nil, err
	}
	part, err := a.rt.Cluster()
	if err != nil {
		return nil, nil, err
	}
	await := func(what string, so func() bool) error {
		for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				return errors.New(what)
			}
		}
		return nil
	}
	if err := await("the nodes do not find each other", func() bool {
		return part.Here(b.mesh.Self()) && a.rt.Node().Holding() == nil && b.rt.Node().Holding() == nil
	}); err != nil {
		return nil, nil, err
	}
	if _, err := a.rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		return nil, nil, err
	}
	var daemons []identity.EntityID
	for range min(senders, 8) {
		d, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Standbys: 1})
		if err != nil {
			return nil, nil, err
		}
		daemons = append(daemons, d.Entity)
	}
	inSync := func() bool {
		for _, id := range daemons {
			if e, ok := part.Look(id); !ok || len(e.Standbys) != 1 {
				return false
			}
		}
		return true
	}
	if err := await("the standbys do not come into sync", inSync); err != nil {
		return nil, nil, err
	}
	numbers, names := make([]uint64, senders), make([]identity.EntityID, senders)
	for i := range names {
		k, err := identity.Generate()
		if err != nil {
			return nil, nil, err
		}
		names[i] = k.ID()
	}
	return func(g int) error {
			numbers[g]++
			_, err := a.rt.Deliver(ctx, daemons[g%len(daemons)], daemon.Event{Sender: names[g], Number: numbers[g], Payload: rawRecord})
			return err
		}, func() error {
			if !inSync() {
				return errors.New("a standby fell out of sync while it was measured")
			}
			return errors.Join(b.done(), a.done())
		}, nil
}

// countedEngine counts what is asked of a directory's engine.
type countedEngine struct {
	directory.Engine
	commits, gets atomic.Int64
}

func (e *countedEngine) Commit(ctx context.Context, c []directory.Condition, w []directory.Write) (int64, error) {
	e.commits.Add(1)
	return e.Engine.Commit(ctx, c, w)
}

func (e *countedEngine) Get(ctx context.Context, key string) ([]byte, int64, error) {
	e.gets.Add(1)
	return e.Engine.Get(ctx, key)
}

// largeDirectory has an embedded etcd hold many daemons, and says how long a node takes
// that comes to it until it knows them all, and what it asks of the engine in five
// seconds, at rest and while it delivers events as fast as it can.
func largeDirectory(root string, many int) (err error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	secret, err := etcd.NewSecret()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	m, err := etcd.Start(etcd.Config{Dir: filepath.Join(dir, "etcd"), Name: "a", Addr: addr, Secret: secret, TTL: 2 * time.Second, Logger: quiet})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	engine := &countedEngine{Engine: etcd.NewEngine(m.Client(), "bench")}
	begun := time.Now()
	if err := enter(engine, key.ID(), many); err != nil {
		return err
	}
	filled := time.Since(begun)
	s, err := store.Open(store.Options{Ephemeral: true, Logger: quiet})
	if err != nil {
		return err
	}
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return err
	}
	part, err := directory.NewMember(directory.Options{Engine: engine, Self: directory.Node{Key: key.ID(), Addr: mesh.Addr().String(), TTL: 2 * time.Second}, Logger: quiet})
	if err != nil {
		return err
	}
	begun = time.Now()
	rt, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh, Logger: quiet, Cluster: &host.ClusterOptions{Member: part}})
	if err == nil {
		err = rt.Start(ctx)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Shutdown(ctx), mesh.Close(), s.Close()) }()
	for rt.Node().Holding() != nil || len(part.Daemons()) < many/64*64 {
		if time.Since(begun) > time.Minute {
			return fmt.Errorf("after a minute it knows %d daemons: %w", len(part.Daemons()), rt.Node().Holding())
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(begun)
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return err
	}
	if _, err := rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		return err
	}
	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		return err
	}
	const watched = 5 * time.Second
	before := engine.commits.Load() + engine.gets.Load()
	time.Sleep(watched)
	rest := engine.commits.Load() + engine.gets.Load() - before
	before, events := engine.commits.Load()+engine.gets.Load(), uint64(0)
	for end := time.Now().Add(watched); time.Now().Before(end); {
		events++
		if _, err := rt.Deliver(ctx, d.Entity, daemon.Event{Sender: key.ID(), Number: events, Payload: rawRecord}); err != nil {
			return err
		}
	}
	busy := engine.commits.Load() + engine.gets.Load() - before
	fmt.Printf("directory (%d daemons in an embedded etcd)\n  entered in %v; a node that starts knows them all after %v\n  asked of the engine in %v: %d times at rest, %d times while %d events were delivered\n",
		many, filled.Round(time.Millisecond), took.Round(time.Millisecond), watched, rest, busy, events)
	return nil
}

// enter enters daemons of nodes that are not there.
func enter(engine directory.Engine, owner identity.EntityID, many int) error {
	part, err := directory.NewMember(directory.Options{Engine: engine, Self: directory.Node{Key: owner, TTL: 2 * time.Second}, Logger: quiet})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended, began := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		part.Run(running, beginning{began})
	}()
	defer func() {
		stop()
		<-ended
	}()
	select {
	case <-began:
	case <-time.After(30 * time.Second):
		return errors.New("the directory does not begin")
	}
	return spread(64, many, func(int) error {
		k, err := identity.Generate()
		if err != nil {
			return err
		}
		_, err = part.Put(ctx, directory.Entry{}, directory.Daemon{Entity: k.ID(), Name: k.ID().Origin().String(), Owner: owner.Node(), Epoch: 1})
		return err
	})
}

// beginning hears that a session has begun.
type beginning struct{ began chan struct{} }

func (beginning) DaemonChanged(identity.EntityID, *directory.Entry) {}
func (beginning) DaemonRemoved(directory.Removal)                   {}
func (beginning) NodeCame(directory.Node)                           {}
func (beginning) NodeRemoved(directory.Node)                        {}
func (beginning) NodeGone(identity.NodeID)                          {}
func (beginning) LeaseChanged(bool)                                 {}
func (b beginning) SessionBegan(uint64) {
	select {
	case <-b.began:
	default:
		close(b.began)
	}
}
