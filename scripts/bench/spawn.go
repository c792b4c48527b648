package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// spawnOne makes a counter and has it take one event. Modules are compiled before,
// where the contender can have that.
var spawnOne = comparison{name: "spawn", n: 400, setup: func(root string) ([]contender, func() error, error) {
	payload := make([]byte, 64)
	var closers []func() error
	var list []contender
	for _, s := range spawners(root, payload) {
		make1, done, err := s.open()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
		closers = append(closers, done)
		list = append(list, contender{name: s.name, part: s.part, run: func(n int) error {
			for range n {
				_, end, err := make1()
				if err == nil {
					err = end()
				}
				if err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return list, func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}, nil
}}

// spawner makes counters in one way. make1 returns what must be kept for the counter
// to live, and how it ends.
type spawner struct {
	name, short string
	part        int // of the number that others make; 0: all
	open        func() (make1 func() (any, func() error, error), done func() error, err error)
}

func spawners(root string, payload []byte) []spawner {
	return []spawner{
		{name: "wazero alone: instantiate, and one call", short: "wazero", open: func() (func() (any, func() error, error), func() error, error) {
			wasm, err := guest(root, "c/counter.wasm")
			if err != nil {
				return nil, nil, err
			}
			r, err := bareRuntime()
			if err != nil {
				return nil, nil, err
			}
			compiled, err := r.CompileModule(ctx, wasm)
			if err != nil {
				return nil, nil, err
			}
			return func() (any, func() error, error) {
				m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(""))
				if err != nil {
					return nil, nil, err
				}
				at, err := m.ExportedFunction(abi.ExportAlloc).Call(ctx, uint64(len(payload)))
				if err != nil {
					return nil, nil, err
				}
				m.Memory().Write(uint32(at[0]), payload)
				res, err := m.ExportedFunction(abi.ExportProcess).Call(ctx, at[0], uint64(len(payload)))
				if err != nil || res[0] != 0 {
					return nil, nil, fmt.Errorf("code %v, %w", res, err)
				}
				return m, func() error { return m.Close(ctx) }, nil
			}, func() error { return r.Close(ctx) }, nil
		}},
		{name: "wasmhost: Runtime.Spawn with an identity, and Deliver", short: "wasmhost", open: func() (func() (any, func() error, error), func() error, error) {
			wasm, err := guest(root, "c/counter.wasm")
			if err != nil {
				return nil, nil, err
			}
			r, err := host.New(ctx, host.Options{})
			if err == nil {
				err = r.Start(ctx)
			}
			if err == nil {
				_, err = r.Kinds().Push(ctx, "counter", wasm)
			}
			if err != nil {
				return nil, nil, err
			}
			return func() (any, func() error, error) {
				d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
				if err == nil {
					_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: payload})
				}
				return nil, func() error { return r.Stop(ctx, d.Entity) }, err
			}, func() error { return r.Shutdown(ctx) }, nil
		}},
		{name: "protoactor-go: Spawn, and one request", short: "protoactor-go", open: func() (func() (any, func() error, error), func() error, error) {
			system := newActors()
			return func() (any, func() error, error) {
				pid := system.Root.Spawn(actorProps())
				_, err := system.Root.RequestFuture(pid, payload, 5e9).Result()
				return nil, func() error { system.Root.Stop(pid); return nil }, err
			}, func() error { system.Shutdown(); return nil }, nil
		}},
		{name: "Extism go-sdk: compiled plugin's Instance, and one Call", short: "Extism", part: 10, open: func() (func() (any, func() error, error), func() error, error) {
			wasm, err := os.ReadFile(filepath.Join(root, "scripts", "bench", "guests", "counter_extism.wasm"))
			if err != nil {
				return nil, nil, err
			}
			c, err := extism.NewCompiledPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}}, extism.PluginConfig{}, nil)
			if err != nil {
				return nil, nil, err
			}
			return func() (any, func() error, error) {
				p, err := c.Instance(ctx, extism.PluginInstanceConfig{})
				if err == nil {
					_, _, err = p.Call("count", payload)
				}
				return p, func() error { return p.Close(ctx) }, err
			}, func() error { return c.Close(ctx) }, nil
		}},
		{name: "hashicorp/go-plugin: a process, and one call (net/rpc)", short: "go-plugin", part: 200, open: func() (func() (any, func() error, error), func() error, error) {
			return func() (any, func() error, error) {
				c, conn, err := startPlugin()
				if err == nil {
					var answer string
					err = conn.Call("Plugin.Count", payload, &answer)
				}
				return conn, func() error { c.Kill(); return nil }, err
			}, func() error { return nil }, nil
		}},
	}
}
