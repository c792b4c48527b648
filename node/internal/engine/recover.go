package engine

import (
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

	"wasmhost.example/api/server/cluster"
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
func (e *Engine) Recover(_ context.Context, d cluster.NewDirectory) error {
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
func (e *Engine) votersOfBefore() []string {
	if e.member != nil {
		return e.member.Names()
	}
	return e.state.Voters
}

// Follow implements server.Engine.
func (e *Engine) Follow(_ context.Context, node identity.NodeID) error {
	dir := e.o.Dir
	st := &state{Name: e.o.Name, Voters: []string{node.String()}, Follows: node.String()}
	if err := writeState(dir, st); err != nil { // an old member is set aside at the next start
		return err
	}
	e.restartSoon()
	return nil
}

func (e *Engine) write(file string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = replaceFile(filepath.Join(e.o.Dir, file), b)
	}
	if err != nil {
		return fmt.Errorf("beginning the directory anew: %w", err)
	}
	return nil
}

// beginAnew makes this node the first of a new engine where a recovery is to be ended. It
// returns what that begins with; nil where there is none.
func (e *Engine) beginAnew(dir string) (*newEngine, error) {
	st, err := readState(dir)
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
	return n, writeState(dir, st)
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
