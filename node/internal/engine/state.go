package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
)

// state is what a node keeps of its part in the embedded engine.
type state struct {
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

// follows is the node that began the directory anew to which this one is to come; 0: none.
func (st *state) follows() identity.NodeID {
	id, err := identity.ParseNodeID(st.Follows)
	if err != nil {
		return 0
	}
	return id
}

func (st *state) seal(secret []byte, key *identity.KeyPair) error {
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

func (st *state) secret(key *identity.KeyPair) (etcd.Secret, error) {
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

func readState(dir string) (*state, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	st := &state{}
	if err == nil {
		err = json.Unmarshal(b, st)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the node's part in its cluster: %w", err)
	}
	return st, nil
}

func writeState(dir string, st *state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(dir, "cluster.json"), b)
	}
	if err != nil {
		return fmt.Errorf("keeping the node's part in its cluster: %w", err)
	}
	return nil
}

// replaceFile writes a file of mode 0600 whole or not at all.
func replaceFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".wasmhost-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
