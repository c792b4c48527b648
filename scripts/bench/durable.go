package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// durable64 and durable1 are events of 128 bytes to counters in C, each
// answered once it is on disk, beside a file that is appended to and synced.
var (
	durable64 = durable("durable-64", 64, 40_000)
	durable1  = durable("durable-1", 1, 1_000)
)

func durable(name string, senders, n int) comparison {
	return comparison{name: name, n: n, setup: func(root string) ([]contender, func() error, error) {
		dir, err := os.MkdirTemp("", "wasmhost-bench-")
		if err != nil {
			return nil, nil, err
		}
		raw, err := newRawLog(filepath.Join(dir, "raw"))
		if err != nil {
			return nil, nil, err
		}
		ours, closeOurs, err := durableDeliver(root, filepath.Join(dir, "data"), senders)
		if err != nil {
			return nil, nil, err
		}
		return []contender{
			{name: fmt.Sprintf("append and fdatasync in batches, %d writers", senders), run: func(n int) error { return spread(senders, n, raw.append) }},
			{name: fmt.Sprintf("wasmhost: durable deliveries, %d senders", senders), run: func(n int) error { return spread(senders, n, ours) }},
		}, func() error { return errors.Join(raw.close(), closeOurs(), os.RemoveAll(dir)) }, nil
	}}
}

// spread calls fn n times from some goroutines.
func spread(goroutines, n int, fn func(goroutine int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			for range n / goroutines {
				if err := fn(g); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// rawLog is the floor: records that are gathered while a sync is under way,
// then written and synced together, into a file whose blocks are there.
type rawLog struct {
	f *os.File

	mu      sync.Mutex
	buf     []byte
	waiting []chan error
	kick    chan struct{}
	done    chan struct{}
	at      int64
}

const rawSize = 512 << 20

func newRawLog(path string) (*rawLog, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for range rawSize / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			return nil, err
		}
	}
	r := &rawLog{f: f, kick: make(chan struct{}, 1), done: make(chan struct{})}
	go r.run()
	return r, f.Sync()
}

func (r *rawLog) run() {
	defer close(r.done)
	for range r.kick {
		r.mu.Lock()
		buf, waiting := r.buf, r.waiting
		r.buf, r.waiting = nil, nil
		r.mu.Unlock()
		_, err := r.f.WriteAt(buf, r.at%(rawSize-8<<20))
		if err == nil {
			err = syscall.Fdatasync(int(r.f.Fd()))
		}
		r.at += int64(len(buf))
		for _, w := range waiting {
			w <- err
		}
	}
}

var rawRecord = bytes.Repeat([]byte{'x'}, 128)

func (r *rawLog) append(int) error {
	w := make(chan error, 1)
	r.mu.Lock()
	r.buf, r.waiting = append(r.buf, rawRecord...), append(r.waiting, w)
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return <-w
}

func (r *rawLog) close() error {
	close(r.kick)
	<-r.done
	return r.f.Close()
}

// openHost starts a runtime on a data directory.
func openHost(dir string, key *identity.KeyPair, o host.Options) (*host.Runtime, *store.Store, time.Duration, error) {
	s, err := store.Open(store.Options{Dir: dir, Logger: quiet})
	if err != nil {
		return nil, nil, 0, err
	}
	o.Store, o.Node, o.Logger, o.CacheDir = s, key, quiet, filepath.Join(dir, "cache")
	r, err := host.New(ctx, o)
	if err != nil {
		return nil, nil, 0, err
	}
	begun := time.Now()
	err = r.Start(ctx)
	return r, s, time.Since(begun), err
}

func durableDeliver(root, dir string, senders int) (func(int) error, func() error, error) {
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return nil, nil, err
	}
	key, err := identity.Generate()
	if err != nil {
		return nil, nil, err
	}
	r, s, _, err := openHost(dir, key, host.Options{})
	if err != nil {
		return nil, nil, err
	}
	if _, err := r.Kinds().Push(ctx, "counter", wasm); err != nil {
		return nil, nil, err
	}
	var daemons []identity.EntityID
	for range min(senders, 8) {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
		if err != nil {
			return nil, nil, err
		}
		daemons = append(daemons, d.Entity)
	}
	numbers := make([]uint64, senders)
	names := make([]identity.EntityID, senders)
	for i := range names {
		k, err := identity.Generate()
		if err != nil {
			return nil, nil, err
		}
		names[i] = k.ID()
	}
	return func(g int) error {
		numbers[g]++
		_, err := r.Deliver(ctx, daemons[g%len(daemons)], daemon.Event{Sender: names[g], Number: numbers[g], Payload: rawRecord})
		return err
	}, func() error { return errors.Join(r.Shutdown(ctx), s.Close()) }, nil
}
