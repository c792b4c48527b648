package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/cluster"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
)

// seedTime bounds how long the new directory may take to be filled.
const seedTime = 10 * time.Minute

// seed fills the new directory, before anybody asks it.
func (e *Engine) seed(ctx context.Context, dir string, n *newEngine) error {
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
		removed[i] = directory.Node{Key: key, Name: v.Name, Addr: v.Addr, TTL: e.o.Lease}
	}
	engine := etcd.NewEngine(e.member.Client(), e.o.Name)
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
func (e *Engine) awaitEngine(ctx context.Context, engine directory.Engine) error {
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
func (e *Engine) call(n *newEngine) {
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

func (e *Engine) callNode(ctx context.Context, id identity.NodeID) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := cluster.AskToDirectory(ask, e.mesh, id, e.o.Name)
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
