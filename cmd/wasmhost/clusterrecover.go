package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
)

// A directory that is lost for good is begun anew in these steps. After a crash the next
// start goes on with the step that was not done:
//
//	recovery.json is written      | what the new directory begins with; the node restarts
//	the old part is set aside     | in lost-TIME, whole: nothing of it is read again
//	cluster.json is written       | the node begins an engine, with one vote
//	the directory is filled       | daemons, and who was removed; what is there stays
//	recovery.json is recovered.json | the node serves, and has the others come

// newEngine is what recovery.json holds.
type newEngine struct {
	Token   string      `json:"token"`   // of the new engine
	Daemons [][]byte    `json:"daemons"` // as the directory's records
	Nodes   []string    `json:"nodes"`   // ids of the nodes that are to come
	Removed []lostVoter `json:"removed"`
}

// lostVoter is a node that had a vote in the directory that is lost, and is lost too.
type lostVoter struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	Addr string `json:"addr"`
}

const (
	recoveryFile  = "recovery.json"
	recoveredFile = "recovered.json"
)

// Recover implements server.Engine.
func (e *clusterEngine) Recover(_ context.Context, d server.NewDirectory) error {
	n := &newEngine{Token: e.mesh.Self().String() + "-" + strconv.FormatInt(time.Now().UnixNano(), 36), Daemons: [][]byte{}, Nodes: []string{}, Removed: []lostVoter{}}
	for _, daemon := range d.Daemons {
		b, err := daemon.MarshalBinary()
		if err != nil {
			return fmt.Errorf("beginning the directory anew: %w", err)
		}
		n.Daemons = append(n.Daemons, b)
	}
	for _, id := range d.Nodes {
		n.Nodes = append(n.Nodes, id.String())
	}
	voters := e.votersOfBefore()
	for _, s := range d.Silent {
		if slices.Contains(voters, s.ID().String()) {
			n.Removed = append(n.Removed, lostVoter{Key: s.Key.String(), Name: s.Name, Addr: s.Addr})
		}
	}
	if err := e.write(recoveryFile, n); err != nil {
		return err
	}
	e.restartSoon()
	return nil
}

// votersOfBefore are the ids of the nodes that had a vote, as this node knows.
func (e *clusterEngine) votersOfBefore() []string {
	if e.member != nil {
		return e.member.Names()
	}
	return e.state.Voters
}

// Follow implements server.Engine.
func (e *clusterEngine) Follow(_ context.Context, node identity.NodeID) error {
	dir := filepath.Join(e.o.data, "cluster")
	st := &engineState{Name: e.o.name, Voters: []string{node.String()}, Follows: node.String()}
	if err := writeEngineState(dir, st); err != nil { // an old member is set aside at the next start
		return err
	}
	e.restartSoon()
	return nil
}

// follows is the node that began the directory anew to which this one is to come; 0: none.
func (st *engineState) follows() identity.NodeID {
	id, err := identity.ParseNodeID(st.Follows)
	if err != nil {
		return 0
	}
	return id
}

// restartSoon has the node restart once who asked for it has the answer.
func (e *clusterEngine) restartSoon() {
	e.once.Do(func() { time.AfterFunc(200*time.Millisecond, func() { close(e.restart) }) })
}

// restarts is closed when the node is to restart. It may be nil.
func (e *clusterEngine) restarts() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.restart
}

func (e *clusterEngine) write(file string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = (&app{}).writeTo(filepath.Join(e.o.data, "cluster", file), bytes.NewReader(b))
	}
	if err != nil {
		return fmt.Errorf("beginning the directory anew: %w", err)
	}
	return nil
}

// beginAnew makes this node the first of a new engine where a recovery is to be ended. It
// returns what that begins with; nil where there is none.
func (e *clusterEngine) beginAnew(dir string) (*newEngine, error) {
	st, err := readEngineState(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, recoveryFile))
	if errors.Is(err, fs.ErrNotExist) {
		if st != nil && st.Follows != "" && !st.Voter {
			return nil, setAside(dir, false)
		}
		return nil, nil
	}
	n := &newEngine{}
	if err == nil {
		err = json.Unmarshal(b, n)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning the directory anew: %w", err)
	}
	if st != nil && st.Token == n.Token {
		return n, nil // it has begun
	}
	if err := setAside(dir, true); err != nil {
		return nil, err
	}
	addr, reach, err := e.memberAddr()
	if err != nil {
		return nil, err
	}
	if st, err = e.found(addr, reach); err != nil {
		return nil, err
	}
	st.Token = n.Token
	return n, writeEngineState(dir, st)
}

// setAside moves the node's part in an engine that is lost out of the way, its state too
// where that is said.
func setAside(dir string, state bool) error {
	to := filepath.Join(dir, "lost-"+strconv.FormatInt(time.Now().Unix(), 10))
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("setting the lost directory aside: %w", err)
	}
	for _, name := range names {
		if name.Name() != "etcd" && (name.Name() != "cluster.json" || !state) {
			continue
		}
		err := os.MkdirAll(to, 0o700)
		if err == nil {
			err = os.Rename(filepath.Join(dir, name.Name()), filepath.Join(to, name.Name()))
		}
		if err != nil {
			return fmt.Errorf("setting the lost directory aside: %w", err)
		}
	}
	return nil
}

// seedTime bounds how long the new directory may take to be filled.
const seedTime = 10 * time.Minute

// seed fills the new directory, before anybody asks it.
func (e *clusterEngine) seed(ctx context.Context, dir string, n *newEngine) error {
	ctx, cancel := context.WithTimeout(ctx, seedTime)
	defer cancel()
	daemons := make([]directory.Daemon, len(n.Daemons))
	for i, b := range n.Daemons {
		if err := daemons[i].UnmarshalBinary(b); err != nil {
			return fmt.Errorf("filling the new directory: %w", err)
		}
	}
	removed := make([]directory.Node, len(n.Removed))
	for i, v := range n.Removed {
		key, err := identity.ParseEntityID(v.Key)
		if err != nil {
			return fmt.Errorf("filling the new directory: %w", err)
		}
		removed[i] = directory.Node{Key: key, Name: v.Name, Addr: v.Addr, TTL: e.o.lease}
	}
	engine := etcd.NewEngine(e.member.Client(), e.o.name)
	if err := e.awaitEngine(ctx, engine); err != nil {
		return fmt.Errorf("filling the new directory: %w", err)
	}
	if err := errors.Join(directory.Banish(ctx, engine, removed), directory.Seed(ctx, engine, daemons)); err != nil {
		return fmt.Errorf("filling the new directory: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, recoveryFile), filepath.Join(dir, recoveredFile)); err != nil {
		return fmt.Errorf("filling the new directory: %w", err)
	}
	e.logger.Warn("this node has begun the cluster's directory anew", "daemons", len(daemons), "removed", len(removed))
	return nil
}

// awaitEngine waits until the engine answers: its member has elected itself.
func (e *clusterEngine) awaitEngine(ctx context.Context, engine directory.Engine) error {
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _, err := engine.Get(ask, "member/")
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.logger.Debug("the new directory does not answer yet", "error", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-e.member.Done():
			return err
		case <-ctx.Done():
		}
	}
}

// callTime is for how long the node asks others to come to the new directory. One that
// comes back later is restarted by hand.
const callTime = 10 * time.Minute

// call has the nodes that are left come to the new directory.
func (e *clusterEngine) call(n *newEngine) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	stop := e.cancel
	e.cancel = func() { stop(); cancel() }
	for _, text := range n.Nodes {
		id, err := identity.ParseNodeID(text)
		if err != nil {
			e.logger.Error("having a node come to the new directory", "node", text, "error", err)
			continue
		}
		e.work.Go(func() { e.callNode(ctx, id) })
	}
}

func (e *clusterEngine) callNode(ctx context.Context, id identity.NodeID) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := server.AskToDirectory(ask, e.mesh, id, e.o.name)
		cancel()
		var said *api.Problem
		switch {
		case err == nil || errors.As(err, &said) && said.Code == "directory-present": // it is there by itself
			return
		case errors.As(err, &said) && !said.Retriable && said.Status < 500:
			e.logger.Error("a node does not come to the new directory: restart it", "node", id, "error", err)
			return
		}
		e.logger.Info("having a node come to the new directory: it is tried again", "node", id, "error", err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
