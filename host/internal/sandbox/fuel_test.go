package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// metered is a rewritten module in wazero alone, whose fuel is given in slices as
// guests get it.
type metered struct {
	r                 wazero.Runtime
	code              wazero.CompiledModule
	m                 api.Module
	fuel, depth, pace api.MutableGlobal
	given, limit      uint64

	yields int
	each   func() // at each yield
}

// newMetered compiles a module that imports nothing.
func newMetered(t testing.TB, wasm []byte) *metered {
	t.Helper()
	out, err := abi.Rewrite(wasm, abi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() {
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	x := &metered{r: r}
	_, err = r.NewHostModuleBuilder(abi.MeterModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(context.Context, api.Module, []uint64) { x.yield() }), nil, nil).Export(abi.OutOfFuel).Instantiate(ctx)
	if err == nil {
		x.code, err = r.CompileModule(ctx, out.Wasm)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.fresh(t)
	return x
}

// fresh makes an instance that has done nothing.
func (x *metered) fresh(t testing.TB) {
	t.Helper()
	var err error
	if x.m != nil {
		err = x.m.Close(ctx)
	}
	if err == nil {
		x.m, err = x.r.InstantiateModule(ctx, x.code, wazero.NewModuleConfig().WithName(""))
	}
	if err != nil {
		t.Fatal(err)
	}
	global := func(name string) api.MutableGlobal { return x.m.ExportedGlobal(name).(api.MutableGlobal) }
	x.fuel, x.depth, x.pace = global(abi.FuelGlobal), global(abi.DepthGlobal), global(abi.PaceGlobal)
}

func (x *metered) used() uint64 { return x.given - x.fuel.Get() }

func (x *metered) yield() {
	x.yields++
	if x.each != nil {
		x.each()
	}
	if int32(x.depth.Get()) < 0 {
		panic(errOverLimit)
	}
	used := x.used()
	if used > x.limit {
		panic(errOverLimit)
	}
	slice := min(fuelSlice, x.limit-used)
	x.given = used + slice
	x.fuel.Set(slice)
	x.pace.Set(paceSlice)
}

// call returns what was taken, and whether it was within the limit.
func (x *metered) call(t testing.TB, limit uint64, name string, args ...uint64) (taken uint64, within bool) {
	t.Helper()
	x.limit, x.given, x.yields = limit, min(limit, fuelSlice), 0
	x.fuel.Set(x.given)
	x.pace.Set(paceSlice)
	x.depth.Set(abi.MaxDepth)
	_, err := x.m.ExportedFunction(name).Call(ctx, args...)
	if err != nil && !strings.Contains(err.Error(), errOverLimit.Error()) {
		t.Fatalf("%s: %v", name, err)
	}
	return x.used(), err == nil && x.used() <= limit
}

// program writes functions at random that note what they have done: at least so
// many instructions in global 0, so much fuel's worth of bulk in global 1.
type program struct {
	*rand.Rand
	functions []int
	room      int // instructions that may still be written
	locals    int // loops that are open
}

const programPages = 48 // of 64 KiB

// done notes that n instructions ran before it, and itself.
func (p *program) done(n int) []byte { return cat(gget(0), i64(n+4), 0x7c, gset(0)) }

func (p *program) straight() []byte {
	n := 1 + p.IntN(40)
	if p.IntN(20) == 0 {
		n = 1 + p.IntN(4000)
	}
	p.room -= n
	return cat(bytes.Repeat(cat(i32(7), 0x1a), n), p.done(2*n)) // i32.const; drop
}

func (p *program) bulk() []byte {
	n := p.IntN(5000)
	if p.IntN(3) == 0 {
		n = p.IntN(abi.BulkPiece * 5 / 2)
	}
	at := func() []byte { return i32(p.IntN(programPages<<16 - n + 1)) }
	var b []byte
	paid := n / abi.BulkPerFuel
	switch p.IntN(7) {
	case 0:
		b = cat(at(), i32(p.IntN(256)), i32(n), 0xfc, 11, 0)
	case 1:
		b = cat(at(), at(), i32(n), 0xfc, 10, 0, 0)
	case 2:
		n %= 64
		b, paid = cat(i32(p.IntN(1<<16)), i32(p.IntN(64-n+1)), i32(n), 0xfc, 8, 0, 0), n/abi.BulkPerFuel
	case 3:
		n %= 100
		b, paid = cat(i32(p.IntN(100-n+1)), 0xd0, 0x70, i32(n), 0xfc, 17, 0), n/abi.BulkPerFuel
	case 4:
		n %= 100
		b, paid = cat(i32(p.IntN(100-n+1)), i32(p.IntN(100-n+1)), i32(n), 0xfc, 14, 0, 0), n/abi.BulkPerFuel
	case 5:
		b, paid = cat(0xd0, 0x70, i32(0), 0xfc, 15, 0, 0x1a), 0
	case 6:
		b, paid = cat(i32(p.IntN(2)), 0x40, 0, 0x1a), 0
	}
	return cat(b, gget(1), i64(paid), 0x7c, gset(1), p.done(7))
}

// body is some statements, within so many blocks.
func (p *program) body(deep int) (b []byte) {
	for range 1 + p.IntN(4) {
		if p.room <= 0 {
			break
		}
		p.room--
		k := p.IntN(9)
		if deep <= 0 {
			k %= 3
		}
		switch k {
		case 0, 1:
			b = cat(b, p.straight())
		case 2:
			b = cat(b, p.bulk())
		case 3:
			b = cat(b, i32(p.IntN(2)), 0x04, 0x40, p.body(deep-1), 0x05, p.body(deep-1), 0x0b)
		case 4: // a loop of some turns
			if p.locals == 8 {
				continue
			}
			l := p.locals
			p.locals++
			b = cat(b, i32(1+p.IntN(5)), put(l), 0x03, 0x40, p.body(deep-1), get(l), i32(1), 0x6b, 0x22, l, 0x0d, 0, 0x0b)
			p.locals--
		case 5: // a branch over some of a block, or not
			b = cat(b, 0x02, 0x40, p.body(deep-1), i32(p.IntN(2)), 0x0d, 0, p.body(deep-1), 0x0b)
		case 6: // a switch, with or without falling through
			b = cat(b, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, i32(p.IntN(4)), 0x0e, 2, 0, 1, 2, 0x0b, p.body(deep-1))
			if p.IntN(2) == 0 {
				b = cat(b, 0x0c, 1)
			}
			b = cat(b, 0x0b, p.body(deep-1), 0x0b)
		case 7:
			if n := len(p.functions); n > 0 {
				b = cat(b, invoke(p.functions[p.IntN(n)]), p.done(1))
			}
		case 8:
			b = cat(b, i32(p.IntN(2)), 0x04, 0x40, 0x0f, 0x0b) // return
		}
	}
	return b
}

func (p *program) module() []byte {
	m := &assembly{}
	none := m.typ("", "")
	m.add(4, cat(0x70, 0, 100)...)
	m.add(5, cat(0, programPages)...)
	m.add(6, cat(0x7e, 1, i64(0), 0x0b)...)
	m.add(6, cat(0x7e, 1, i64(0), 0x0b)...)
	for range 4 {
		p.room = 3000
		p.functions = append(p.functions, m.fn(none, cat(1, 8, 0x7f), p.body(5)))
	}
	for k, f := range p.functions {
		m.export(fmt.Sprint("f", k), 0, f)
	}
	m.export("done", 3, 0)
	m.export("bulk", 3, 1)
	m.add(12, 1)
	m.add(11, cat(1, vec(make([]byte, 64)))...)
	return m.bytes()
}

// No more runs than was paid for, but for what follows a br_table up to the next look;
// what is taken is the same each time, one unit less is not enough for it, and no long
// stretch runs without a yield.
func TestNothingRunsUnpaid(t *testing.T) {
	const growth = 48 * 5 * 5 * 5 * 5 * 5 // more than a program grows, pages: memory.grow is paid for afterwards
	programs := 60
	if testing.Short() {
		programs = 10
	}
	ends, longest := 0, uint64(0)
	for seed := range programs {
		p := &program{Rand: rand.New(rand.NewPCG(uint64(seed), 17))}
		x := newMetered(t, p.module())
		for k := range p.functions {
			name := fmt.Sprint("f", k)
			run := func(limit uint64) (taken, ran uint64, within bool) {
				x.fresh(t)
				done := x.m.ExportedGlobal("done")
				last := uint64(0)
				x.each = func() {
					longest = max(longest, done.Get()-last)
					last = done.Get()
				}
				taken, within = x.call(t, limit, name)
				x.each()
				return taken, done.Get() + x.m.ExportedGlobal("bulk").Get(), within
			}
			const plenty = 1 << 26
			taken, ran, within := run(plenty)
			if !within {
				if ran > plenty+paceSlice+4096+growth {
					t.Fatalf("program %d, %s: of %d units of fuel it ran %d", seed, name, plenty, ran)
				}
				continue
			}
			ends++
			if ran > taken {
				t.Fatalf("program %d, %s: %d units were taken, it ran %d", seed, name, taken, ran)
			}
			if again, _, within := run(taken); again != taken || !within {
				t.Fatalf("program %d, %s: %d units were taken, then %d of as many (%v)", seed, name, taken, again, within)
			}
			if _, _, within := run(taken - 1); within {
				t.Fatalf("program %d, %s: %d units were taken, and %d are enough", seed, name, taken, taken-1)
			}
			limit := uint64(p.Int64N(int64(taken)))
			if _, ran, within := run(limit); within || ran > limit+paceSlice+4096+x.grown()/abi.BulkPerFuel {
				t.Fatalf("program %d, %s: of %d units of fuel it ran %d (%v)", seed, name, limit, ran, within)
			}
		}
	}
	if most := uint64(fuelSlice + paceSlice + 4096); longest > most {
		t.Errorf("%d instructions ran without a yield, at most %d may", longest, most)
	}
	if ends < programs {
		t.Errorf("%d calls came to an end", ends)
	}
	t.Logf("%d calls came to an end; %d instructions without a yield at most", ends, longest)
}

func (x *metered) grown() uint64 { return uint64(x.m.Memory().Size()) - programPages<<16 }

// Bulk instructions that are done in pieces do what they do at once: forward and
// backward over each other, from segments, and nothing where they trap.
func TestPiecesAreAsTheWhole(t *testing.T) {
	const size, segment = 4 << 20, 3 << 20
	m := &assembly{}
	three := m.typ("iii", "")
	m.add(5, cat(0, 64)...)
	ops := []string{"fill", "copy", "init"}
	for k, op := range [][]byte{{0xfc, 11, 0}, {0xfc, 10, 0, 0}, {0xfc, 8, 0, 0}} {
		m.export(ops[k], 0, m.fn(three, leb(0), get(0), get(1), get(2), op))
	}
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, segment)
	for k := range noise {
		noise[k] = byte(r.Uint32())
	}
	m.export("memory", 2, 0)
	m.add(12, 1)
	m.add(11, cat(1, vec(noise))...)
	x := newMetered(t, m.bytes())
	want := make([]byte, size)
	one := func(op string, d, s, n uint64) {
		t.Helper()
		x.limit, x.given = 1<<40, 1<<40
		x.fuel.Set(x.given)
		x.yields = 0
		_, err := x.m.ExportedFunction(op).Call(ctx, d, s, n)
		room := uint64(size)
		if op == "init" {
			room = segment
		}
		if trap := d+n > size || op != "fill" && s+n > room; trap != (err != nil) {
			t.Fatalf("%s(%d, %d, %d): %v", op, d, s, n, err)
		} else if !trap {
			switch op {
			case "fill":
				copy(want[d:d+n], bytes.Repeat([]byte{byte(s)}, int(n)))
			case "copy":
				copy(want[d:d+n], want[s:s+n])
			case "init":
				copy(want[d:d+n], noise[s:s+n])
			}
			if most := uint64(x.yields+1) * abi.BulkPiece; n > most {
				t.Fatalf("%s(%d, %d, %d): %d yields", op, d, s, n, x.yields)
			}
		}
		got, _ := x.m.Memory().Read(0, size)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s(%d, %d, %d) leaves another memory", op, d, s, n)
		}
	}
	one("init", 1000, 0, segment)
	const piece = abi.BulkPiece
	for _, n := range []uint64{0, 1, piece - 1, piece, piece + 1, 2 * piece, 2*piece + 7, segment, segment + 1, size, size + 1, 1<<32 - 1} {
		for _, op := range ops {
			for _, at := range [][2]uint64{{0, 0}, {0, 1}, {1, 0}, {5000, 0}, {0, 5000}, {piece, 0}, {0, piece}, {piece + 3, 7}, {size, 0}, {size + 1, 0}, {0, 1 << 31}, {1<<32 - 1, 1<<32 - 1}} {
				one(op, at[0], at[1], n)
			}
		}
	}
	for range 100 {
		one(ops[r.IntN(3)], uint64(r.IntN(size)), uint64(r.IntN(size)), uint64(r.IntN(size)))
	}
}

// bomb is a module that does as it is told in each export that a host calls.
func bomb(where string, body func(m *assembly) []byte) []byte {
	m := &assembly{}
	none, oneOne, twoOne, noneLong := m.typ("", ""), m.typ("i", "i"), m.typ("ii", "i"), m.typ("", "I")
	m.add(4, cat(0x70, 0, leb(1<<20))...)
	m.add(5, cat(0, leb(1024))...)
	m.add(6, cat(0x7f, 1, i32(0), 0x0b)...)
	b := body(m)
	in := func(name string) []byte {
		if name == where {
			return b
		}
		return nil
	}
	m.export("memory", 2, 0)
	m.export(abi.ExportMarker, 0, m.fn(none, leb(0)))
	m.export(abi.ExportInitialize, 0, m.fn(none, cat(1, 1, 0x7f), in(abi.ExportInitialize)))
	m.export(abi.ExportAlloc, 0, m.fn(oneOne, leb(0), in(abi.ExportAlloc), i32(1024)))
	for _, name := range []string{abi.ExportInit, abi.ExportProcess, abi.ExportRestore} {
		m.export(name, 0, m.fn(twoOne, leb(0), in(name), i32(0)))
	}
	m.export(abi.ExportSnapshot, 0, m.fn(noneLong, leb(0), in(abi.ExportSnapshot), i64(0)))
	start := m.fn(none, leb(0), in("start"))
	if where == "start" {
		m.add(8, leb(start)...)
	}
	return m.bytes()
}

func fills(n int) func(*assembly) []byte {
	return func(*assembly) []byte {
		return bytes.Repeat(cat(i32(0), i32(1), i32(1000<<16), 0xfc, 11, 0), n)
	}
}

// untaken turns a loop for ever that pays much each time, and does little.
func untaken(*assembly) []byte {
	return cat(0x03, 0x40, 0x02, 0x40, 0x0c, 0, make([]byte, 1<<20), 0x0b, 0x0c, 0, 0x0b) // loop; block; br; unreachable, …; end; br; end
}

// What functions do after the calls that they make was paid for long before. It
// yields all the same.
func TestReturnsYield(t *testing.T) {
	for _, tail := range []int{1, 30, 90, 300, 3000} {
		m := &assembly{}
		typ := m.typ("i", "")
		p := &program{}
		b := cat(get(0), 0x04, 0x40, get(0), i32(1), 0x6b, invoke(0), 0x0b, bytes.Repeat(cat(i32(7), 0x1a), tail), p.done(2*tail))
		m.export("f", 0, m.fn(typ, leb(0), b))
		m.add(6, cat(0x7e, 1, i64(0), 0x0b)...)
		m.export("done", 3, 0)
		x := newMetered(t, m.bytes())
		done, last, longest := x.m.ExportedGlobal("done"), uint64(0), uint64(0)
		x.each = func() {
			longest = max(longest, done.Get()-last)
			last = done.Get()
		}
		const deep = abi.MaxDepth - 10
		if _, within := x.call(t, 1<<40, "f", deep); !within {
			t.Fatal("it does not come to an end")
		}
		x.each()
		if most := uint64(fuelSlice + paceSlice + abi.MaxDepth*192); done.Get() < uint64(2*tail*deep) || longest > most {
			t.Errorf("%d instructions at each return: of %d that ran, %d did without a yield, at most %d may", 2*tail, done.Get(), longest, most)
		}
	}
}

// Every export that a host calls ends by fuel, whatever it does.
func TestNoCallTakesMoreThanItsFuel(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	limits := DefaultLimits()
	limits.Fuel = 16 << 20
	arm := func(b []byte) []byte {
		return cat(0x02, 0x40, 0x02, 0x40, i32(0), 0x0e, 1, 0, 1, 0x0b, b, 0x0b)
	}
	for name, body := range map[string]func(m *assembly) []byte{
		"fills":      fills(1000),
		"more fills": fills(3000),
		"arms": func(*assembly) []byte {
			return bytes.Repeat(arm(cat(i32(0), i32(1), i32(1000<<16), 0xfc, 11, 0)), 300)
		},
		"arms without bulk": func(*assembly) []byte { return bytes.Repeat(arm(cat(i32(1), 0x1a)), 1000) },
		"copies": func(*assembly) []byte {
			return bytes.Repeat(cat(i32(1000), i32(1), i32(1000<<16), 0xfc, 10, 0, 0), 1000)
		},
		"table fills": func(*assembly) []byte {
			return bytes.Repeat(cat(i32(0), 0xd0, 0x70, i32(1<<20), 0xfc, 17, 0), 1000)
		},
		"table copies": func(*assembly) []byte {
			return bytes.Repeat(cat(i32(0), i32(0), i32(1<<20), 0xfc, 14, 0, 0), 1000)
		},
		"grow": func(*assembly) []byte {
			return bytes.Repeat(cat(i32(4), 0x40, 0, 0x1a, i32(0), i32(1), i32(1024<<16), 0xfc, 11, 0), 100)
		},
		"calls that double": func(m *assembly) []byte {
			f := m.fn(0, leb(0), bytes.Repeat(cat(i32(1), 0x1a), 100))
			for range 30 {
				f = m.fn(0, leb(0), invoke(f), invoke(f))
			}
			return invoke(f)
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			m, err := engine(t).Compile(ctx, bomb(abi.ExportProcess, body), 1024)
			if err != nil {
				t.Fatal(err)
			}
			limits := limits
			if name == "arms without bulk" {
				limits.Fuel = 3000
			}
			wantFuel(t, m, limits)
		})
	}
	var refusal *abi.Refusal
	if _, err := engine(t).Compile(ctx, bomb("start", untaken), 1024); !errors.As(err, &refusal) || refusal.Code != abi.RefusedStart || !strings.Contains(refusal.Found, "fuel") {
		t.Errorf("a start function ends with %v", err)
	}
	for _, where := range []string{abi.ExportAlloc, abi.ExportInit, abi.ExportRestore, abi.ExportSnapshot} {
		t.Run(where, func(t *testing.T) {
			wasm := bomb(where, fills(5))
			m, err := engine(t).Compile(ctx, wasm, 1024)
			if err != nil {
				t.Fatal(err)
			}
			g, err := m.NewGuest(Options{Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			_, processed := g.Process(&at, nil)
			_, snapped := g.Snapshot(&at)
			all := map[string]error{abi.ExportAlloc: processed, abi.ExportInit: g.Init(&at, []byte("x")), abi.ExportRestore: g.Restore(&at, nil), abi.ExportSnapshot: snapped}
			for name, err := range all {
				var f *abi.Fault
				if over := errors.As(err, &f) && f.Limit == abi.LimitFuel && f.Call == name; over != (name == where) && where != abi.ExportAlloc || name == where && !over {
					t.Errorf("%s ends with %v", name, err)
				}
			}
		})
	}
}

// wantFuel gives a guest an event that must end by its limit of fuel, with nothing
// changed.
func wantFuel(t *testing.T, m *Module, limits Limits) {
	t.Helper()
	g, err := m.NewGuest(Options{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	before, err := g.Root()
	if err != nil {
		t.Fatal(err)
	}
	var f *abi.Fault
	if _, err := g.Process(&at, nil); !errors.As(err, &f) || f.Limit != abi.LimitFuel {
		t.Errorf("it ends with %v", err)
	}
	if g.Fuel() <= limits.Fuel {
		t.Errorf("it took %d units of fuel", g.Fuel())
	}
	if after, err := g.Root(); err != nil || after != before {
		t.Errorf("it leaves a trace: %x, %x, %v", before, after, err)
	}
}
