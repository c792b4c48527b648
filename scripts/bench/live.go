package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// opening opens a host on a data directory, and says how long its start took.
type opening func(dir string, key *identity.KeyPair) (*host.Runtime, *store.Store, time.Duration, error)

func openAlone(dir string, key *identity.KeyPair) (*host.Runtime, *store.Store, time.Duration, error) {
	return openHost(dir, key, host.Options{})
}

// openMember opens the one node of a cluster whose directory is in this process. Its
// meshes stay until the process ends.
func openMember(mem *directory.Memory) opening {
	return func(dir string, key *identity.KeyPair) (*host.Runtime, *store.Store, time.Duration, error) {
		mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Addr: "127.0.0.1:0", Logger: quiet})
		if err != nil {
			return nil, nil, 0, err
		}
		m, err := directory.NewMember(directory.Options{Engine: mem.Link(), Self: directory.Node{Key: key.ID(), Addr: mesh.Addr().String(), TTL: 2 * time.Second}, Logger: quiet})
		if err != nil {
			return nil, nil, 0, err
		}
		return openHost(filepath.Join(dir, "member"), key, host.Options{Mesh: mesh, Cluster: &host.ClusterOptions{Member: m}})
	}
}

// manyLive ends a host with many daemons in memory as a crash does, starts it, and sends
// events to a hundred of them before they are all read.
func manyLive(root, file, what string, many int, open opening) (err error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	wasm, err := guest(root, file)
	if err != nil {
		return err
	}
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	r, s, _, err := open(dir, key)
	if err != nil {
		return err
	}
	if _, err := r.Kinds().Push(ctx, "k", wasm); err != nil {
		return err
	}
	made := make(chan identity.EntityID, many)
	err = spread(64, many, func(int) error {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k"})
		if err == nil {
			_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: rawRecord})
		}
		made <- d.Entity
		return err
	})
	if err != nil {
		return err
	}
	close(made)
	var ids []identity.EntityID
	for id := range made {
		ids = append(ids, id)
	}
	// The store ends before the host, which so cannot store the daemons' states.
	if err := s.Close(); err != nil {
		return err
	}
	if err := r.Shutdown(ctx); !errors.Is(err, store.ErrClosed) {
		return fmt.Errorf("ending a host without its store: %w", err)
	}

	begun := time.Now()
	r, s, started, err := open(dir, key)
	if err != nil {
		return err
	}
	whole := time.Since(begun)
	before, total := r.Node().Recovery()
	var waits []float64
	var first time.Duration
	for i := range 100 {
		start := time.Now()
		if _, err := r.Deliver(ctx, ids[len(ids)-1-i*len(ids)/100], daemon.Event{Payload: rawRecord}); err != nil {
			return err
		}
		waits = append(waits, float64(time.Since(start).Nanoseconds()))
		if i == 0 {
			first = time.Since(begun)
		}
	}
	done, _ := r.Node().Recovery()
	fmt.Printf("live, %s (%d daemons of %s, after a crash)\n", what, len(ids), file)
	fmt.Printf("  ready after %v, of which the store took %v; %d of %d daemons were read\n", whole.Round(time.Millisecond), (whole - started).Round(time.Millisecond), before, total)
	fmt.Printf("  the first event is answered after %v\n", first.Round(time.Millisecond))
	slices.Sort(waits)
	fmt.Printf("  an event for one of a hundred then, durable: median %.2f ms, longest %.2f ms; %d were read after these\n", median(waits)/1e6, waits[len(waits)-1]/1e6, done)
	for done < total {
		time.Sleep(10 * time.Millisecond)
		done, total = r.Node().Recovery()
	}
	fmt.Printf("  all are read after %v\n", time.Since(begun).Round(time.Millisecond))
	return errors.Join(r.Shutdown(ctx), s.Close())
}
