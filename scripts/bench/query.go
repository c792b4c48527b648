package main

import (
	"errors"
	"fmt"
	"os"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// queries are questions to a counter in C, beside an event in memory, and one that is on disk
// when it is answered.
var queries = comparison{name: "query", n: 20_000, setup: func(root string) ([]contender, func() error, error) {
	wasm, err := guest(root, "c/asked.wasm")
	if err != nil {
		return nil, nil, err
	}
	memory, err := openAsked(wasm, nil)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return nil, nil, errors.Join(err, memory.close())
	}
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		return nil, nil, errors.Join(err, memory.close(), os.RemoveAll(dir))
	}
	disk, err := openAsked(wasm, s)
	if err != nil {
		return nil, nil, errors.Join(err, memory.close(), s.Close(), os.RemoveAll(dir))
	}
	return []contender{
			{name: "an event in memory", run: memory.deliver},
			{name: "a query in memory", run: memory.query},
			{name: "a query of a daemon on disk", run: disk.query},
			{name: "an event that is on disk", run: disk.deliver, part: 20},
		}, func() error {
			return errors.Join(memory.close(), disk.close(), s.Close(), os.RemoveAll(dir))
		}, nil
}}

// asked is a runtime with a daemon that counts, and answers questions.
type asked struct {
	r     *host.Runtime
	d     daemon.Info
	count int
}

func openAsked(wasm []byte, s *store.Store) (*asked, error) {
	r, err := host.New(ctx, host.Options{Store: s})
	if err != nil {
		return nil, err
	}
	a := &asked{r: r}
	if err = r.Start(ctx); err == nil {
		_, err = r.Kinds().Push(ctx, "asked", wasm)
	}
	if err == nil {
		a.d, err = r.Spawn(ctx, daemon.SpawnRequest{Kind: "asked"})
	}
	if err != nil {
		return nil, errors.Join(err, r.Shutdown(ctx))
	}
	return a, nil
}

func (a *asked) close() error { return a.r.Shutdown(ctx) }

func (a *asked) deliver(n int) error {
	ev := daemon.Event{Payload: []byte("count")}
	for range n {
		res, err := a.r.Deliver(ctx, a.d.Entity, ev)
		if err != nil {
			return err
		}
		if a.count++; string(res.Outputs[0].Payload) != fmt.Sprint(a.count) {
			return fmt.Errorf("the count is %s, want %d", res.Outputs[0].Payload, a.count)
		}
	}
	return nil
}

func (a *asked) query(n int) error {
	question, want := []byte("count"), fmt.Sprint(a.count)
	for range n {
		answer, err := a.r.Daemons().Query(ctx, a.d.Entity, question)
		if err != nil {
			return err
		}
		if string(answer.Payload) != want {
			return fmt.Errorf("the answer is %s, want %s", answer.Payload, want)
		}
	}
	return nil
}
