package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"wasmhost/host"
	"wasmhost/host/store"
	"wasmhost/identity"
)

// manyLive ends a host with many daemons in memory as a crash does, starts it, and sends
// events to a hundred of them before they are all read.
func manyLive(root, file string, many int) (err error) {
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
	r, s, _, err := openHost(dir, key, host.Options{})
	if err != nil {
		return err
	}
	if _, err := r.PushKind(ctx, "k", wasm); err != nil {
		return err
	}
	made := make(chan identity.EntityID, many)
	err = spread(64, many, func(int) error {
		d, err := r.Spawn(ctx, host.SpawnRequest{Kind: "k"})
		if err == nil {
			_, err = r.Deliver(ctx, d.Entity, host.Event{Payload: rawRecord})
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
	r, s, started, err := openHost(dir, key, host.Options{})
	if err != nil {
		return err
	}
	whole := time.Since(begun)
	before, total := r.Recovery()
	var waits []float64
	for i := range 100 {
		start := time.Now()
		if _, err := r.Deliver(ctx, ids[len(ids)-1-i*len(ids)/100], host.Event{Payload: rawRecord}); err != nil {
			return err
		}
		waits = append(waits, float64(time.Since(start).Nanoseconds()))
	}
	done, _ := r.Recovery()
	fmt.Printf("live (%d daemons of %s, after a crash)\n", len(ids), file)
	fmt.Printf("  ready after %v, of which the store took %v; %d of %d daemons were read\n", whole.Round(time.Millisecond), (whole - started).Round(time.Millisecond), before, total)
	slices.Sort(waits)
	fmt.Printf("  an event for one of a hundred then, durable: median %.2f ms, longest %.2f ms; %d were read after these\n", median(waits)/1e6, waits[len(waits)-1]/1e6, done)
	for done < total {
		time.Sleep(10 * time.Millisecond)
		done, total = r.Recovery()
	}
	fmt.Printf("  all are read after %v\n", time.Since(begun).Round(time.Millisecond))
	return errors.Join(r.Shutdown(ctx), s.Close())
}
