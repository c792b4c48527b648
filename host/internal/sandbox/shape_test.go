package sandbox

import (
	"context"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"wasmhost.example/abi"
)

// shapes is for how long TestShapes tries modules, and compares what compiling
// them takes with what abi.Shape.Work says.
var shapes = flag.Duration("shapes", 0, "for how long generated modules are compiled and timed")

// patterns are what generated functions are made of. The stack is empty before
// and after each; local 0 is an i32 parameter.
var patterns = []string{
	"\x01", "\x03\x40\x0b", "\x02\x40\x0b", "\x20\x00\x04\x40\x0b", "\x20\x00\x04\x40\x05\x0b", "\x02\x40\x20\x00\x0d\x00\x0b", "\x03\x40\x20\x00\x0d\x00\x0b",
	"\x41\x01\x1a", "\x20\x00\x41\x01\x6a\x21\x00", "\x20\x00\x28\x02\x00\x1a", "\x20\x00\x20\x00\x36\x02\x00", "\x20\x00\x20\x00\x6d\x1a", "\x20\x00\xb2\xa8\x1a",
	"\x20\x00\x20\x00\x20\x00\x1b\x21\x00", "\x10\x00", "\x20\x00\x10\x01\x21\x00", "\x41\x00\x11\x00\x00", "\x23\x00\x41\x01\x6a\x24\x00",
	"\x20\x00\x04\x40\x0f\x0b", "\x20\x00\x04\x40\x00\x0b", "\x20\x00\x20\x00\x20\x00\xfc\x0a\x00\x00", "\x20\x00\x20\x00\x20\x00\xfc\x0b\x00", "\x20\x00\xfd\x11\xfd\x1b\x00\x21\x00",
	"\x41\x00\x25\x00\x1a", "\x20\x00\x40\x00\x1a", "\x42\x01\x42\x03\x7c\x1a",
}

// opens are what a generated function may nest the rest in.
var opens = []string{"\x02\x40", "\x03\x40", "\x20\x00\x04\x40"}

// shaped makes a module that validates of any bytes: functions of repeated and
// nested patterns over locals.
func shaped(data []byte) []byte {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	count := func() int { return 1 << (next() % 13) * (8 + next()%8) / 8 } // 1 to 7,680
	const most = 128 << 10
	var functions [][]byte
	size := 0
	for len(data) > 0 && size < most {
		locals := count()
		if locals > 3000 {
			locals = 1
		}
		var body, ends []byte
		for range 1 + next()%6 {
			n := count()
			kind := next()
			for i := range n {
				if size+len(body) > most {
					break
				}
				local := binary.AppendUvarint(nil, uint64(1+i%locals))
				switch kind % 8 {
				case 0:
					open := opens[kind/8%len(opens)]
					body, ends = append(body, open...), append(ends, 0x0b)
				case 1: // if: set a local
					body = append(append(append(body, "\x20\x00\x04\x40\x20\x00\x21"...), local...), 0x0b)
				case 2: // use all locals
					body = append(append(append(body, "\x20\x00\x20"...), local...), "\x6a\x21\x00"...)
				case 3: // branch out of what is open
					body = binary.AppendUvarint(append(body, "\x20\x00\x0d"...), uint64(i%(len(ends)+1)))
				case 4: // a loop that changes a local
					body = append(append(append(append(append(body, "\x03\x40\x20"...), local...), "\x41\x01\x6a\x22"...), local...), "\x0d\x00\x0b"...)
				default:
					body = append(body, patterns[kind/8%len(patterns)]...)
				}
			}
			if kind%16 == 3 { // a br_table over what is open
				n = min(n, 4096)
				body = binary.AppendUvarint(append(body, "\x02\x40\x20\x00\x0e"...), uint64(n))
				for i := range n + 1 {
					body = binary.AppendUvarint(body, uint64(i%(len(ends)+2)))
				}
				body = append(body, 0x0b)
			}
		}
		body = append(append(body, ends...), 0x0b)
		head := append(binary.AppendUvarint([]byte{1}, uint64(locals)), 0x7f)
		repeats := 1
		if next()%4 == 0 {
			repeats = 1 + next()%16
		}
		for range repeats {
			if size += len(head) + len(body); size < 2*most {
				functions = append(functions, append(head[:len(head):len(head)], body...))
			}
		}
	}
	sized := func(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }
	vec := func(n int, s string) string { return string(binary.AppendUvarint(nil, uint64(n))) + s }
	section := func(id byte, s string) string { return string(rune(id)) + sized(s) }
	var code strings.Builder
	code.WriteString(sized("\x00\x0b") + sized("\x00\x20\x00\x0b") + sized("\x00\x41\x00\x0b"))
	for _, f := range functions {
		code.WriteString(sized(string(f)))
	}
	n := len(functions)
	return []byte("\x00asm\x01\x00\x00\x00" + section(1, "\x04\x60\x00\x00\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f\x60\x01\x7f\x00") +
		section(3, vec(n+3, "\x00\x01\x02"+strings.Repeat("\x03", n))) + section(4, "\x01\x70\x00\x01") + section(5, "\x01\x00\x01") + section(6, "\x01\x7f\x01\x41\x00\x0b") +
		section(7, "\x04"+sized("memory")+"\x02\x00"+sized(abi.ExportMarker)+"\x00\x00"+sized(abi.ExportAlloc)+"\x00\x01"+sized(abi.ExportProcess)+"\x00\x02") +
		section(10, vec(n+3, code.String())))
}

// compileShape compiles a generated module whose shape is within the bounds,
// and returns what that took of processor time and of the heap; ok is false for others.
func compileShape(tb testing.TB, wasm []byte) (took time.Duration, memory uint64, work time.Duration, ok bool) {
	e, err := NewEngine(context.Background(), Config{Heap: true})
	if err != nil {
		tb.Fatal(err)
	}
	defer e.Close(context.Background())
	p, err := e.Prepare(wasm, 16, false)
	if err != nil {
		return 0, 0, 0, false
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := processorTime(tb)
	m, err := p.engine.compile(context.Background(), p.report, p.rewritten)
	took = processorTime(tb) - start
	runtime.ReadMemStats(&after)
	if err != nil {
		tb.Fatalf("a generated module of %d bytes: %v", len(wasm), err)
	}
	if err := m.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return took, after.TotalAlloc - before.TotalAlloc, time.Duration(p.report.Shape().Work(p.report.Size)), true
}

// FuzzShape compiles generated modules: those that the bounds let pass compile.
func FuzzShape(f *testing.F) {
	for _, seed := range []string{"", "\x00\x00\x05\x08\x00\x28", "\x07\x03\x02\x0a\x00\x01\x09\x00\x02", "\x06\x00\x01\x07\x00\x08\x06\x00\x02", "\x03\x01\x01\x09\x00\x13", "\x05\x00\x00\x0a\x07\x2d"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { compileShape(t, shaped(data[:min(len(data), 64)])) })
}

// TestShapes compiles generated modules for as long as -shapes says, one core's
// time each, and fails where one takes more than twice what its shape's Work
// says. It logs what the dearest take for each byte.
func TestShapes(t *testing.T) {
	if *shapes == 0 {
		t.Skip("-shapes says for how long")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var perByte, ratio float64
	var memory uint64
	var longest time.Duration
	tried, accepted := 0, 0
	for end := time.Now().Add(*shapes); time.Now().Before(end); tried++ {
		data := make([]byte, 4+rand.IntN(40))
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		wasm := shaped(data)
		took, bytes, work, ok := compileShape(t, wasm)
		if !ok {
			continue
		}
		accepted++
		longest = max(longest, took)
		if took > 50*time.Millisecond { // less says little
			if r := took.Seconds() / work.Seconds(); r > ratio {
				ratio = r
				t.Logf("%x: %d bytes, %v of %v, shape %+v", data, len(wasm), took, work, shapeOf(wasm))
			}
			perByte, memory = max(perByte, took.Seconds()/float64(len(wasm))), max(memory, bytes/uint64(len(wasm)))
		}
		if took > 2*work+100*time.Millisecond {
			t.Errorf("%x: %d bytes take %v, their shape says %v: %+v", data, len(wasm), took, work, shapeOf(wasm))
		}
	}
	t.Logf("%d of %d modules within the bounds; the dearest: %v, %.0f µs and %d bytes allocated for each byte; %.2f of their shapes' Work", accepted, tried, longest, perByte*1e6, memory, ratio)
}

// processorTime returns what this process took so far.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func shapeOf(wasm []byte) abi.Shape {
	s, err := abi.Measure(wasm)
	if err != nil {
		panic(err)
	}
	return s
}
