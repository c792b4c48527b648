package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/placement"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// drained is one of the two nodes between which daemons go to and fro.
type drained struct {
	rt    *host.Runtime
	mesh  *wire.Mesh
	store *store.Store
}

func (n *drained) close() error {
	return errors.Join(n.rt.Shutdown(ctx), n.mesh.Close(), n.store.Close())
}

func newDrained(dir string) (*drained, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		return nil, err
	}
	rt, s, _, err := openHost(dir, key, host.Options{Mesh: mesh})
	return &drained{rt, mesh, s}, err
}

// manners are the ways of draining that are compared; the first is the one that
// is used.
var manners = []struct {
	name     string
	smallest bool
	parallel int
}{
	{"4 at a time, largest first", false, 4},
	{"4 at a time, smallest first", true, 4},
	{"1 at a time", false, 1},
	{"2 at a time", false, 2},
	{"8 at a time", false, 8},
}

// manyDrained drains a node of many daemons over QUIC on the loopback: one in 20
// is a word count with a megabyte or so of state, the others are C counters. Both
// nodes are in this process, so that the processor time is that of both.
func manyDrained(root string, rounds, many int) (err error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from, err := newDrained(filepath.Join(dir, "a"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := newDrained(filepath.Join(dir, "b"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	token, err := from.mesh.Token(time.Minute, trust.RightsAll)
	if err == nil {
		_, err = to.mesh.Join(ctx, token)
	}
	if err == nil {
		err = fill(root, from.rt, many)
	}
	if err != nil {
		return err
	}
	rates, cpus, sizes := make([][]float64, len(manners)), make([][]float64, len(manners)), make([][]float64, len(manners))
	for round := range rounds + 1 {
		for k, m := range manners {
			before := cpuTime()
			s, err := drainOnce(from, to, drain.Options{Parallel: m.parallel, SmallestFirst: m.smallest, Logger: quiet})
			if err != nil {
				return err
			}
			from, to = to, from
			if round > 0 { // the first brings the modules, and warms up
				rates[k] = append(rates[k], float64(s.Gone)/s.Elapsed.Seconds())
				cpus[k] = append(cpus[k], (cpuTime()-before).Seconds()*1e3/float64(s.Gone))
				sizes[k] = append(sizes[k], float64(s.Bytes)/float64(s.Gone))
			}
		}
	}
	fmt.Printf("drain (%d rounds of %d daemons)\n", rounds, many)
	for k, m := range manners {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = rates[k][r] / rates[0][r]
		}
		fmt.Printf("  %-30s %8.0f daemons/s   %6.2f ms of processor each   %8.0f bytes each   %5.2f times the first\n",
			m.name, median(rates[k]), median(cpus[k]), median(sizes[k]), median(ratios))
	}
	return nil
}

func drainOnce(from, to *drained, o drain.Options) (drain.Summary, error) {
	o.Targets = func(context.Context) ([]placement.Node, error) {
		return []placement.Node{{ID: to.mesh.Self(), Name: "target"}}, nil
	}
	if err := errors.Join(from.rt.Node().SetDraining(true, false), to.rt.Node().SetDraining(false, false)); err != nil {
		return drain.Summary{}, err
	}
	s, err := drain.Start(ctx, from.rt, o).Wait(ctx)
	if err == nil {
		err = s.Err()
	}
	return s, err
}

// fill makes the daemons, each with some events behind it.
func fill(root string, rt *host.Runtime, many int) error {
	for name, file := range map[string]string{"counter": "c/counter.wasm", "words": "rust/wordcount.wasm"} {
		wasm, err := guest(root, file)
		if err == nil {
			_, err = rt.Kinds().Push(ctx, name, wasm)
		}
		if err != nil {
			return err
		}
	}
	for i := range many {
		kind := "counter"
		if i%20 == 0 {
			kind = "words"
		}
		d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: kind})
		if err != nil {
			return err
		}
		var last *host.Pending
		for k := range 10 {
			payload := rawRecord
			if kind == "words" {
				payload = words(i, k)
			}
			if last, err = rt.Submit(ctx, d.Entity, daemon.Event{Payload: payload}); err != nil {
				return err
			}
		}
		if _, err := last.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// words is a line of 1,000 words that no other line has.
func words(daemon, event int) []byte {
	var b bytes.Buffer
	for w := range 1000 {
		fmt.Fprintf(&b, "w%dx%dx%d ", daemon, event, w)
	}
	return b.Bytes()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
