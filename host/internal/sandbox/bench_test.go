package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"wasmhost.example/abi"
)

// plain is a module in wazero alone: host functions that do nothing but read
// what is emitted. It has an event of 64 bytes in its buffer.
type plain struct {
	r       wazero.Runtime
	m       api.Module
	process api.Function
	buf     uint64
}

func newPlain(b *testing.B, wasm []byte, rc wazero.RuntimeConfig) *plain {
	ctx := context.Background()
	p := &plain{r: wazero.NewRuntimeWithConfig(ctx, rc)}
	b.Cleanup(func() {
		if err := p.r.Close(ctx); err != nil {
			b.Error(err)
		}
	})
	for module, functions := range map[string]map[string]string{abi.ImportModule: abi.HostFunctions, abi.MeterModule: {abi.OutOfFuel: ":"}} {
		hb := p.r.NewHostModuleBuilder(module)
		for name, sig := range functions {
			params, results := valueTypes(sig)
			hb = hb.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, s []uint64) {
				switch name {
				case abi.ImportEmit:
					m.Memory().Read(uint32(s[0]), uint32(s[1]))
				case abi.OutOfFuel:
					m.ExportedGlobal(abi.FuelGlobal).(api.MutableGlobal).Set(1 << 62)
					m.ExportedGlobal(abi.PaceGlobal).(api.MutableGlobal).Set(1 << 30)
				default:
					if len(results) > 0 {
						s[0] = 0
					}
				}
			}), params, results).Export(name)
		}
		if _, err := hb.Instantiate(ctx); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.r); err != nil {
		b.Fatal(err)
	}
	compiled, err := p.r.CompileModule(ctx, wasm)
	if err != nil {
		b.Fatal(err)
	}
	p.m = p.instantiate(b, compiled)
	res, err := p.m.ExportedFunction(abi.ExportAlloc).Call(ctx, 64)
	if err != nil {
		b.Fatal(err)
	}
	p.buf, p.process = res[0], p.m.ExportedFunction(abi.ExportProcess)
	return p
}

func (p *plain) instantiate(b *testing.B, c wazero.CompiledModule) api.Module {
	ctx := context.Background()
	m, err := p.r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err == nil {
		if f := m.ExportedFunction(abi.ExportInitialize); f != nil {
			_, err = f.Call(ctx)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func (p *plain) event(b *testing.B, payload []byte) {
	stack := [2]uint64{p.buf, uint64(len(payload))}
	p.m.Memory().Write(uint32(p.buf), payload)
	if err := p.process.CallWithStack(context.Background(), stack[:]); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSpawn is a stock-Go guest: a mapping of its image, and as wazero
// makes one.
func BenchmarkSpawn(b *testing.B) {
	wasm := wasmOf(b, "go/wordcount.wasm")
	b.Run("image", func(b *testing.B) {
		m, err := engine(b).Compile(context.Background(), wasm, 1024)
		if err != nil {
			b.Fatal(err)
		}
		var guests []*Guest
		for b.Loop() {
			g, err := m.NewGuest(Options{})
			if err != nil {
				b.Fatal(err)
			}
			g.mu.Lock()
			err = g.unpack()
			g.mu.Unlock()
			if err != nil {
				b.Fatal(err)
			}
			guests = append(guests, g)
			if len(guests) == 1000 {
				b.StopTimer()
				closeAll(b, guests)
				guests = guests[:0]
				b.StartTimer()
			}
		}
		closeAll(b, guests)
	})
	b.Run("plain", func(b *testing.B) {
		p := newPlain(b, wasm, wazero.NewRuntimeConfig())
		compiled, err := p.r.CompileModule(context.Background(), wasm)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := p.instantiate(b, compiled).Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func closeAll(b *testing.B, guests []*Guest) {
	for _, g := range guests {
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFuel is one event of 64 bytes to the C counter, and a tight loop, in
// wazero alone: as they are, metered, and with wazero's own limit by context.
func BenchmarkFuel(b *testing.B) {
	for _, work := range []struct {
		name string
		wasm []byte
	}{{"event", wasmOf(b, "c/counter.wasm")}, {"loop", dirtier(1, 0, 1_000_000)}} {
		metered, err := abi.Rewrite(work.wasm, abi.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, mode := range []struct {
			name string
			wasm []byte
			rc   wazero.RuntimeConfig
		}{
			{"off", work.wasm, wazero.NewRuntimeConfig()},
			{"on", metered.Wasm, wazero.NewRuntimeConfig()},
			{"context", work.wasm, wazero.NewRuntimeConfig().WithCloseOnContextDone(true)},
		} {
			b.Run(work.name+"/"+mode.name, func(b *testing.B) {
				p := newPlain(b, mode.wasm, mode.rc)
				payload := bytes.Repeat([]byte{'x'}, 64)
				for b.Loop() {
					p.event(b, payload)
				}
			})
		}
	}
}

// BenchmarkUndoable is good events of a guest that is undoable and of one whose
// calls are not remembered, in turn: it reports a single event of each, and the
// median of their ratios.
func BenchmarkUndoable(b *testing.B) {
	const n = 4096
	payload := bytes.Repeat([]byte{'x'}, 64)
	yes, no := newGuest(b, "c/counter.wasm", Options{}), newGuest(b, "c/counter.wasm", Options{})
	no.undo.stateless = true
	ev := at
	some := func(g *Guest) float64 {
		start := time.Now()
		for range n {
			ev.Sequence++
			ev.Time += 1000
			if _, err := g.Process(&ev, payload); err != nil {
				b.Fatal(err)
			}
		}
		return float64(time.Since(start).Nanoseconds()) / n
	}
	var with, without, ratio []float64
	for b.Loop() {
		with, without = append(with, some(yes)), append(without, some(no))
		ratio = append(ratio, with[len(with)-1]/without[len(without)-1])
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	b.ReportMetric(median(with), "undoable-ns")
	b.ReportMetric(median(without), "not-ns")
	b.ReportMetric(median(ratio), "ratio")
}

// BenchmarkUndo is an event that fails: of the C counter, and of a guest of 64
// MiB that dirties ten blocks. It reports the 99th percentile too.
func BenchmarkUndo(b *testing.B) {
	measure := func(b *testing.B, g *Guest, payload []byte) {
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := g.Process(&at, payload); err == nil {
				b.Fatal("it did not fail")
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	}
	b.Run("counter", func(b *testing.B) { measure(b, newGuest(b, "c/counter.wasm", Options{}), []byte("fail")) })
	b.Run("64MiB", func(b *testing.B) {
		g := bigGuest(b, 64, Config{CacheDir: compiled})
		var took []time.Duration
		for b.Loop() {
			b.StopTimer()
			for range 100 { // some of which will have to be replayed
				if _, err := g.Process(&at, []byte("x")); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			start := time.Now()
			if _, err := g.Process(&at, nil); err == nil {
				b.Fatal("it did not fail")
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	})
}

// BenchmarkCapture saves guests of several sizes, ten blocks of which differ
// from their image.
func BenchmarkCapture(b *testing.B) {
	for _, mode := range []struct {
		name string
		heap bool
	}{{"mapped", false}, {"compared", true}} {
		for _, mib := range []uint32{1, 64, 1024} {
			b.Run(fmt.Sprintf("%s/%dMiB", mode.name, mib), func(b *testing.B) {
				g := bigGuest(b, mib, Config{CacheDir: compiled, Heap: mode.heap})
				if _, err := g.Process(&at, []byte("x")); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					s, err := g.Save()
					if err != nil || len(s.Index) < 10 || len(s.Index) > 12 {
						b.Fatal(len(s.Index), err)
					}
				}
			})
		}
	}
}

func bigGuest(b *testing.B, mib uint32, c Config) *Guest {
	e, err := NewEngine(context.Background(), c)
	if err != nil {
		b.Fatal(err)
	}
	m, err := e.Compile(context.Background(), dirtier(mib*16, 10, 0), mib*16)
	if err != nil {
		b.Fatal(err)
	}
	l := DefaultLimits()
	l.MemoryPages = mib * 16
	g, err := m.NewGuest(Options{Limits: l})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := g.Close(); err != nil {
			b.Error(err)
		}
		if err := e.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return g
}

// dirtier makes a module of so many pages of 64 KiB whose process adds to a
// word in each of so many blocks, spread over the memory, turns a loop so many
// times, and fails where the event is empty.
func dirtier(pages, blocks, turns uint32) []byte {
	leb := func(v int64) (out []byte) { // signed, and so good for small unsigned ones too
		for v < -64 || v > 63 {
			out = append(out, byte(v)|0x80)
			v >>= 7
		}
		return append(out, byte(v)&0x7f)
	}
	uleb := func(v uint32) (out []byte) {
		for v >= 0x80 {
			out = append(out, byte(v)|0x80)
			v >>= 7
		}
		return append(out, byte(v))
	}
	section := func(id byte, body []byte) []byte {
		return append(append([]byte{id}, uleb(uint32(len(body)))...), body...)
	}
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	wasm = append(wasm, section(1, []byte("\x03\x60\x00\x00\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f"))...)
	wasm = append(wasm, section(3, []byte{3, 0, 1, 2})...)
	wasm = append(wasm, section(5, append([]byte{1, 0}, uleb(pages)...))...)
	exports := []byte{4}
	for i, name := range []string{abi.ExportMarker, abi.ExportAlloc, abi.ExportProcess} {
		exports = append(append(append(exports, byte(len(name))), name...), 0, byte(i))
	}
	exports = append(append(append(exports, 6), "memory"...), 2, 0)
	wasm = append(wasm, section(7, exports)...)
	body := []byte{1, 1, 0x7f} // a local: i32
	for k := range blocks {
		addr := leb(int64(4096 + uint64(k)*uint64(pages)*65536/uint64(blocks+1)&^7))
		body = append(append(body, 0x41), addr...)                 // i32.const addr
		body = append(append(body, 0x41), addr...)                 // i32.const addr
		body = append(body, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0) // i32.load; i32.const 1; i32.add; i32.store
	}
	if turns > 0 {
		body = append(append(body, 0x41), leb(int64(turns))...)
		body = append(body, 0x21, 2, 0x03, 0x40, 0x20, 2, 0x41, 1, 0x6b, 0x22, 2, 0x0d, 0, 0x0b) // local.set; loop; local - 1; br_if
	}
	body = append(body, 0x20, 1, 0x45, 0x0b) // local.get len; i32.eqz; end
	alloc := append(append([]byte{0, 0x41}, leb(int64(pages)*65536-2048)...), 0x0b)
	code := []byte{3, 2, 0, 0x0b}
	code = append(append(code, uleb(uint32(len(alloc)))...), alloc...)
	code = append(append(code, uleb(uint32(len(body)))...), body...)
	return append(wasm, section(10, code)...)
}

// BenchmarkSwitch is two guests that take turns on one instance: of the C
// counter, and of a module that changes its tables of 8 to 40 elements.
func BenchmarkSwitch(b *testing.B) {
	for _, of := range []struct {
		name    string
		wasm    []byte
		payload []byte
	}{{"plain", wasmOf(b, "c/counter.wasm"), []byte("x")}, {"tables", everything(), []byte{opTableGrow, 0, 0, 0, 0, 0, 0, 0, 0}}} {
		b.Run(of.name, func(b *testing.B) {
			m, err := engineOf(b, Config{CacheDir: compiled}).Compile(context.Background(), of.wasm, 1024)
			if err != nil {
				b.Fatal(err)
			}
			m.most = 1
			var guests [2]*Guest
			for k := range guests {
				if guests[k], err = m.NewGuest(Options{}); err != nil {
					b.Fatal(err)
				}
				defer guests[k].Close()
			}
			for n := 0; b.Loop(); n++ {
				if _, err := guests[n%2].Process(&at, of.payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHeld is what a guest holds of the process's memory: spawned, after
// its first event, and packed. One round is enough: -benchtime 1x.
func BenchmarkHeld(b *testing.B) {
	for _, of := range []struct {
		file string
		n    int
	}{{"c/counter.wasm", 10_000}, {"go/wordcount.wasm", 2000}} {
		b.Run(of.file, func(b *testing.B) {
			m, err := engine(b).Compile(context.Background(), wasmOf(b, of.file), 1024)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				guests := make([]*Guest, of.n)
				last := heldBytes(b)
				report := func(name string) {
					now := heldBytes(b)
					b.ReportMetric(float64(now-last)/float64(of.n)/1024, "KiB-"+name)
				}
				for k := range guests {
					if guests[k], err = m.NewGuest(Options{}); err != nil {
						b.Fatal(err)
					}
				}
				report("spawned")
				for _, g := range guests {
					if _, err := g.Process(&at, []byte("x")); err != nil {
						b.Fatal(err)
					}
				}
				report("after-an-event")
				for _, g := range guests {
					g.Pack()
				}
				report("packed")
				closeAll(b, guests)
			}
		})
	}
}

// heldBytes returns the memory that the process holds (PSS).
func heldBytes(b *testing.B) int64 {
	runtime.GC()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	_, after, _ := strings.Cut(string(text), "\nPss:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}
