package doctor

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// benchModule is testdata/wasm/c/counter.wasm.
//
//go:embed bench.wasm
var benchModule []byte

// measured is one line of bench.
type measured struct {
	What  string  `json:"what"`
	Count int     `json:"count"`
	Each  float64 `json:"each_us"` // microseconds
	Rate  float64 `json:"per_second"`
}

// Bench is the command bench.
func Bench(a *cli.App) *cobra.Command {
	var each time.Duration
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine for a few seconds",
		Long: `Measure this machine for a few seconds: what a small daemon costs in memory, and
on the disk that --data is on. It runs in this process and uses no node; what it
writes is removed. Figures are one caller's, on a machine that does nothing else.`,
		Example: "  wasmhost bench\n  wasmhost bench --data /var/lib/wasmhost --time 5s -o json",
		Args:    cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if each < 10*time.Millisecond || each > time.Minute {
				return cli.Usagef("--time %v is not between 10ms and 1m", each)
			}

			a.Grace.Ending.Store(true) // it removes what it wrote
			list, err := measureAll(c.Context(), c.Flag("data").Value.String(), each)
			if err != nil {
				return err
			}

			return cli.PrintList(a, list, "WHAT\tEACH\tPER SECOND", func(m measured) string {
				return fmt.Sprintf("%s\t%.1f µs\t%.0f", m.What, m.Each, m.Rate)
			}, func(m measured) string { return m.What })
		},
	}

	cli.AddSetting(c.Flags(), "data", "")
	c.Flags().DurationVar(&each, "time", time.Second, "how long each is measured")
	return c
}

func measureAll(ctx context.Context, data string, each time.Duration) (_ []measured, err error) {
	at := existing(data)
	dir, err := os.MkdirTemp(at, ".wasmhost-bench-*")
	if err != nil {
		return nil, fmt.Errorf("making a place to measure: %w", err)
	}

	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	memory, err := measureIn(ctx, "", each)
	if err != nil {
		return nil, err
	}

	disk, err := measureIn(ctx, dir, each)
	return append(memory, disk...), err
}

// measureIn measures a runtime whose store is in dir, or one that stores
// nothing.
func measureIn(ctx context.Context, dir string, each time.Duration) (out []measured, err error) {
	quiet := slog.New(slog.DiscardHandler)
	o := host.Options{Logger: quiet}
	if dir != "" {
		if o.Store, err = store.Open(store.Options{Dir: dir, Logger: quiet}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, o.Store.Close()) }()
	}

	rt, err := host.New(ctx, o)
	if err != nil {
		return nil, err
	}

	defer func() { err = errors.Join(err, rt.Shutdown(context.WithoutCancel(ctx))) }()
	if err := rt.Start(ctx); err != nil {
		return nil, err
	}
	if _, err := rt.Kinds().Push(ctx, "bench", benchModule); err != nil {
		return nil, err
	}

	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "bench"})
	if err != nil {
		return nil, err
	}

	add := func(what string, batch int, fn func() error) {
		if err != nil {
			return
		}
		var m measured
		if m, err = measure(ctx, what, each, batch, fn); err == nil {
			out = append(out, m)
		}
	}

	deliver := func(size int) func() error {
		ev := daemon.Event{Payload: make([]byte, size)}
		return func() error {
			_, err := rt.Deliver(ctx, d.Entity, ev)
			return err
		}
	}
	if dir != "" {
		add("event, durable, one at a time", 1, deliver(16))
		add("event, durable, 256 in flight", 256, func() error { return inFlight(ctx, rt, d.Entity, 256) })
		return out, err
	}

	add("event of 16 bytes, in memory", 1, deliver(16))
	add("event of 1 KiB, in memory", 1, deliver(1024))
	add("spawn and stop, in memory", 1, func() error {
		s, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "bench"})
		if err != nil {
			return err
		}
		return rt.Stop(ctx, s.Entity)
	})

	return out, err
}

func inFlight(ctx context.Context, rt *host.Runtime, id identity.EntityID, n int) error {
	pending := make([]*host.Pending, n)
	for i := range pending {
		var err error
		if pending[i], err = rt.Submit(ctx, id, daemon.Event{Payload: make([]byte, 16)}); err != nil {
			return err
		}
	}

	for _, p := range pending {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure calls fn, which does batch things, for so long.
func measure(ctx context.Context, what string, each time.Duration, batch int, fn func() error) (measured, error) {
	n := 0
	began := time.Now()
	for n == 0 || time.Since(began) < each {
		if err := errors.Join(ctx.Err(), fn()); err != nil {
			return measured{}, fmt.Errorf("measuring %s: %w", what, err)
		}
		n += batch
	}

	took := time.Since(began)
	return measured{What: what, Count: n, Each: float64(took.Nanoseconds()) / 1000 / float64(n), Rate: float64(n) / took.Seconds()}, nil
}
