package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// replay is one event of the journal of a counter in C, read alone and applied
// again at a start.
var replay = comparison{name: "replay", n: 300_000, setup: func(root string) ([]contender, func() error, error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return nil, nil, err
	}
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return nil, nil, err
	}
	key, err := identity.Generate()
	if err != nil {
		return nil, nil, err
	}
	options := host.Options{Limits: daemon.Limits{SnapshotEvents: 1 << 40, SnapshotBytes: 1 << 40, SnapshotInterval: 1 << 60}}
	r, s, _, err := openHost(filepath.Join(dir, "data"), key, options)
	if err != nil {
		return nil, nil, err
	}
	if _, err := r.Kinds().Push(ctx, "counter", wasm); err != nil {
		return nil, nil, err
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		return nil, nil, err
	}
	var last *host.Pending
	for i := range uint64(300_000) {
		if last, err = r.Submit(ctx, d.Entity, daemon.Event{Sender: key.ID(), Number: i + 1, Payload: rawRecord}); err != nil {
			return nil, nil, err
		}
	}
	if _, err := last.Wait(ctx); err != nil {
		return nil, nil, err
	}
	// The store ends before the host, which so cannot store the daemon's state.
	data := filepath.Join(dir, "data")
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	if err := r.Shutdown(ctx); !errors.Is(err, store.ErrClosed) {
		return nil, nil, fmt.Errorf("ending a host without its store: %w", err)
	}
	round := 0
	fresh := func() (string, error) { // a start stores the daemon at its end
		round++
		to := filepath.Join(dir, fmt.Sprint("round", round))
		return to, os.CopyFS(to, os.DirFS(data))
	}
	return []contender{
		{name: "reading the journal alone", run: func(n int) error {
			s, err := store.Open(store.Options{Dir: data, Logger: quiet})
			if err != nil {
				return err
			}
			err = s.ReadHistory(d.Entity, 0, uint64(n), func(uint64, []byte) error { return nil })
			return errors.Join(err, s.Close())
		}},
		{name: "wasmhost: recovery of the counter", run: func(n int) error {
			to, err := fresh()
			if err != nil {
				return err
			}
			r, s, took, err := openHost(to, key, options)
			if err != nil {
				return err
			}
			i, err := r.Daemons().Inspect(d.Entity)
			if err == nil && i.Sequence != uint64(n) {
				err = fmt.Errorf("%d events are recovered", i.Sequence)
			}
			fmt.Printf("  start: %v, %.0f events/s on one core\n", took.Round(time.Millisecond), float64(n)/took.Seconds())
			return errors.Join(err, r.Shutdown(ctx), s.Close(), os.RemoveAll(to))
		}},
	}, func() error { return os.RemoveAll(dir) }, nil
}}

// manyPassive starts a host with many daemons of the guest on disk alone, and
// then sends one event to a thousand of them.
func manyPassive(root, file string, many int) (err error) {
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
	options := host.Options{ActiveBytes: 64 << 20, PassivateAfter: 100 * time.Millisecond}
	r, s, _, err := openHost(dir, key, options)
	if err != nil {
		return err
	}
	if _, err := r.Kinds().Push(ctx, "k", wasm); err != nil {
		return err
	}
	ids := make(chan identity.EntityID, many)
	begun := time.Now()
	err = spread(64, many, func(int) error {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k"})
		if err == nil {
			_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: rawRecord}) // so that it has a state of its own
		}
		ids <- d.Entity
		return err
	})
	if err != nil {
		return err
	}
	close(ids)
	spawned := time.Since(begun)
	for passive := 0; passive < r.DaemonCount(); {
		time.Sleep(500 * time.Millisecond)
		passive = 0
		for _, d := range r.Daemons().List() {
			if d.State == "passive" {
				passive++
			}
		}
	}
	idle := time.Since(begun)
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		return err
	}
	begun = time.Now()
	r, s, took, err := openHost(dir, key, options)
	if err != nil {
		return err
	}
	whole := time.Since(begun)
	var wakes []float64
	for id := range ids {
		if len(wakes) == 1000 {
			break
		}
		start := time.Now()
		if _, err := r.Deliver(ctx, id, daemon.Event{Payload: rawRecord}); err != nil {
			return err
		}
		wakes = append(wakes, float64(time.Since(start).Nanoseconds()))
	}
	fmt.Printf("passive (%d daemons of %s, on disk alone)\n", r.DaemonCount(), file)
	fmt.Printf("  spawned in %v, all passive after %v\n", spawned.Round(time.Millisecond), idle.Round(time.Millisecond))
	fmt.Printf("  ready after %v, of which the store took %v\n", whole.Round(time.Millisecond), (whole - took).Round(time.Millisecond))
	slices.Sort(wakes)
	fmt.Printf("  an event that brings one back, durable: median %.2f ms, p99 %.2f ms\n", median(wakes)/1e6, wakes[len(wakes)*99/100]/1e6)
	return errors.Join(r.Shutdown(ctx), s.Close())
}
