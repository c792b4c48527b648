package sandbox

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmhost.example/abi"
)

// queried is what a guest is asked, and what comes of it.
var queried = []struct {
	question, answer string
	kind             abi.FaultKind
	text             string
}{
	{"count", "5", "", ""},
	{"write", "1005", "", ""},
	{"count", "5", "", ""},
	{"size", "1", "", ""},
	{"grow", "5", "", ""},
	{"size", "1", "", ""},
	{strings.Repeat("long ", 4096), "5", "", ""},
	{"loop", "", abi.FaultLimit, "fuel"},
	{"trap", "", abi.FaultTrap, "asked to trap"},
	{"fail", "", abi.FaultError, "asked to fail"},
	{"emit", "", abi.FaultAnswer, "it called emit in wasmhost_query"},
	{"send", "", abi.FaultAnswer, "it called send in wasmhost_query"},
	{"timer", "", abi.FaultAnswer, "it called timer in wasmhost_query"},
	{"huge", "", abi.FaultLimit, "its answer has 5242880 bytes, more than 4194304"},
	{"bad", "", abi.FaultLimit, "its answer has 2147483647 bytes"},
	{"count", "5", "", ""},
}

func askAll(t *testing.T, g *Guest) {
	t.Helper()
	before, err := g.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queried {
		answer, err := g.Query(&Event{Sequence: 5, Time: at.Time, Kind: abi.EventQuery}, []byte(q.question), 0)
		var f *abi.Fault
		if q.kind == "" && (err != nil || string(answer) != q.answer) {
			t.Errorf("%.10s: %q, %v, want %q", q.question, answer, err, q.answer)
		} else if q.kind != "" && (!errors.As(err, &f) || f.Kind != q.kind || f.Call != abi.ExportQuery || !strings.Contains(f.Error(), q.text)) {
			t.Errorf("%.10s: %q, %v, want a fault of kind %s: %s", q.question, answer, err, q.kind, q.text)
		}
		if after, err := g.Root(); err != nil || after != before {
			t.Fatalf("%.10s left a trace: %x, %x, %v", q.question, before, after, err)
		}
	}
}

// A query sees the state that events left, and leaves no trace of whatever it does; events
// then go on as if it had not been.
func TestQueriesChangeNothing(t *testing.T) {
	for name, c := range map[string]Config{"mapped": {}, "heap": {Heap: true}} {
		t.Run(name, func(t *testing.T) {
			m, err := engineOf(t, c).Compile(ctx, wasmOf(t, "c/asked.wasm"), 1024)
			if err != nil {
				t.Fatal(err)
			}
			limits := DefaultLimits()
			limits.Fuel = 1 << 26
			g, err := m.NewGuest(Options{Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			for n := range 5 {
				if _, err := g.Process(&Event{Sequence: uint64(n) + 1, Time: at.Time}, nil); err != nil {
					t.Fatal(err)
				}
			}
			askAll(t, g)
			g.Pack()
			askAll(t, g)
			out, err := g.Process(&Event{Sequence: 6, Time: at.Time}, nil)
			if err != nil || len(out) != 1 || string(out[0]) != "6" {
				t.Fatalf("the next event: %q, %v", out, err)
			}
		})
	}
}

// A module without the export says so.
func TestModulesWithoutQueries(t *testing.T) {
	g := newGuest(t, "c/counter.wasm", Options{})
	if _, err := g.Query(&at, nil, 0); !errors.Is(err, ErrNoQueries) {
		t.Fatal(err)
	}
}

// What is asked while an event takes long is answered by a copy of what was before it, however
// many events and marks there were; the event ends as it would have.
func TestQueriesBesideAnEvent(t *testing.T) {
	m, err := engine(t).Compile(ctx, wasmOf(t, "c/asked.wasm"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	var g *Guest
	var view *View
	g, err = m.NewGuest(Options{Pause: func() {
		if view == nil {
			view = g.ViewBefore()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	sequence := uint64(0)
	process := func(payload, want string) {
		t.Helper()
		sequence++
		out, err := g.Process(&Event{Sequence: sequence, Time: at.Time}, []byte(payload))
		if err != nil || len(out) != 1 || string(out[0]) != want {
			t.Fatalf("event %d: %q, %v, want %s", sequence, out, err, want)
		}
	}
	for range 3 {
		process("", strconv.FormatUint(sequence+1, 10))
	}
	process("long", "4")
	if view == nil {
		t.Fatal("no pause in a long event")
	}
	for range markCalls + 10 { // the mark that the view has goes on without it
		process("", strconv.FormatUint(sequence+1, 10))
	}

	c, err := view.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if answer, err := c.Query(&Event{Sequence: 3, Time: at.Time}, []byte("count"), 0); err != nil || string(answer) != "3" {
			t.Fatalf("the copy: %q, %v, want 3", answer, err)
		}
	}
	if _, err := c.Query(&Event{Sequence: 3, Time: at.Time}, []byte("slow"), time.Microsecond); !errors.Is(err, ErrPatience) {
		t.Fatalf("a query that takes longer: %v, want ErrPatience", err)
	}
	now, err := g.View()
	if err != nil {
		t.Fatal(err)
	}
	d, err := now.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before, _ := g.Root()
	if same, err := d.Root(); err != nil || same != before {
		t.Fatalf("a view of what the guest is: %x, want %x, %v", same, before, err)
	}
}

// BenchmarkQuery is a query of a counter, alone and between events, beside an event.
func BenchmarkQuery(b *testing.B) {
	for _, file := range []string{"c/asked.wasm"} {
		payload := []byte("count")
		b.Run("event", func(b *testing.B) {
			g := newGuest(b, file, Options{})
			for b.Loop() {
				if _, err := g.Process(&at, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("query", func(b *testing.B) {
			g := newGuest(b, file, Options{})
			for range 10 {
				if _, err := g.Process(&at, payload); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := g.Query(&at, payload, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("both", func(b *testing.B) {
			g := newGuest(b, file, Options{})
			for b.Loop() {
				if _, err := g.Process(&at, payload); err != nil {
					b.Fatal(err)
				}
				if _, err := g.Query(&at, payload, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
