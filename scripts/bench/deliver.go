package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// deliver is one event to a counter in C, answered with the count: of 64 bytes, and of
// a KiB.
var (
	deliver   = deliverOf("deliver", 64)
	deliver1K = deliverOf("deliver-1KiB", 1024)
)

func deliverOf(name string, size int) comparison {
	return comparison{name: name, n: 20_000, setup: func(root string) ([]contender, func() error, error) { return deliverers(root, size) }}
}

func deliverers(root string, size int) ([]contender, func() error, error) {
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return nil, nil, err
	}
	payload := bytes.Repeat([]byte{'x'}, size)
	bare, closeBare, err := bareCall(wasm, payload)
	if err != nil {
		return nil, nil, err
	}
	ours, closeOurs, err := ourDeliver(wasm, payload)
	if err != nil {
		return nil, nil, err
	}
	plugin, closePlugin, err := extismCall(root, payload)
	if err != nil {
		return nil, nil, err
	}
	natively, closeNative, err := nativeDeliver(payload)
	if err != nil {
		return nil, nil, err
	}
	asActor, closeActor, err := actorCall(payload)
	if err != nil {
		return nil, nil, err
	}
	process, closeProcess, err := pluginCall(payload)
	if err != nil {
		return nil, nil, err
	}
	return []contender{
			{name: "wazero alone: CallWithStack, one host call", run: bare},
			{name: "wasmhost: Runtime.Deliver, metered and chained", run: ours},
			{name: "wasmhost: the same, of a native Go daemon", run: natively},
			{name: "protoactor-go: RequestFuture, one process", run: asActor},
			{name: "Extism go-sdk: Plugin.Call", run: plugin, part: 20},
			{name: "hashicorp/go-plugin: another process (net/rpc)", run: process, part: 20},
		}, func() error {
			return errors.Join(closeBare(), closeOurs(), closePlugin(), closeNative(), closeActor(), closeProcess())
		}, nil
}

// bareRuntime is wazero with host functions that do nothing but read what is emitted.
func bareRuntime() (wazero.Runtime, error) {
	r := wazero.NewRuntime(ctx)
	b := r.NewHostModuleBuilder(abi.ImportModule)
	types := map[rune]api.ValueType{'i': api.ValueTypeI32, 'I': api.ValueTypeI64}
	for name, sig := range abi.HostFunctions {
		var params, results []api.ValueType
		to := &params
		for _, c := range sig {
			if c == ':' {
				to = &results
			} else {
				*to = append(*to, types[c])
			}
		}
		b = b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, s []uint64) {
			if name == abi.ImportEmit {
				m.Memory().Read(uint32(s[0]), uint32(s[1]))
			}
		}), params, results).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return r, err
}

func bareCall(wasm, payload []byte) (func(int) error, func() error, error) {
	r, err := bareRuntime()
	if err != nil {
		return nil, nil, err
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		return nil, nil, err
	}
	res, err := m.ExportedFunction(abi.ExportAlloc).Call(ctx, uint64(len(payload)))
	if err != nil {
		return nil, nil, err
	}
	process := m.ExportedFunction(abi.ExportProcess)
	var stack [2]uint64
	return func(n int) error {
		for range n {
			if !m.Memory().Write(uint32(res[0]), payload) {
				return errors.New("the buffer is outside the memory")
			}
			stack[0], stack[1] = res[0], uint64(len(payload))
			if err := process.CallWithStack(ctx, stack[:]); err != nil || stack[0] != 0 {
				return fmt.Errorf("code %d, %w", stack[0], err)
			}
		}
		return nil
	}, func() error { return r.Close(ctx) }, nil
}

func ourDeliver(wasm, payload []byte) (func(int) error, func() error, error) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := r.Start(ctx); err != nil {
		return nil, nil, err
	}
	if _, err := r.Kinds().Push(ctx, "counter", wasm); err != nil {
		return nil, nil, err
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		return nil, nil, err
	}
	ev := daemon.Event{Payload: payload}
	total := 0
	return func(n int) error {
		var last daemon.Result
		for range n {
			if last, err = r.Deliver(ctx, d.Entity, ev); err != nil {
				return err
			}
		}
		total += n
		if got := string(last.Outputs[0].Payload); got != fmt.Sprint(total) {
			return fmt.Errorf("the count is %s, want %d", got, total)
		}
		return nil
	}, func() error { return r.Shutdown(ctx) }, nil
}

func extismCall(root string, payload []byte) (func(int) error, func() error, error) {
	wasm, err := os.ReadFile(filepath.Join(root, "scripts", "bench", "guests", "counter_extism.wasm"))
	if err != nil {
		return nil, nil, err
	}
	p, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}}, extism.PluginConfig{}, nil)
	if err != nil {
		return nil, nil, err
	}
	total := 0
	return func(n int) error {
		var out []byte
		for range n {
			if _, out, err = p.Call("count", payload); err != nil {
				return err
			}
		}
		total += n
		if string(out) != fmt.Sprint(total) {
			return fmt.Errorf("the count is %s, want %d", out, total)
		}
		return nil
	}, func() error { return p.Close(ctx) }, nil
}
