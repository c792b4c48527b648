package sandbox

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/abi"
)

// hooked is a module that answers each event with how many it had, in memory and in
// a global, and whose wasmhost_snapshot does something before it gives its state.
func hooked(hook func(emit int) []byte) []byte {
	m := &assembly{}
	none, oneOne, twoOne, noneLong, twoNone, fourOne := m.typ("", ""), m.typ("i", "i"), m.typ("ii", "i"), m.typ("", "I"), m.typ("ii", ""), m.typ("iiii", "i")
	emit := m.imported(abi.ImportEmit, twoNone)
	m.imported(abi.ImportPublish, fourOne)
	m.add(4, cat(0x70, 0, 1)...)
	m.add(5, cat(0, 1)...)
	m.add(6, cat(0x7f, 1, i32(0), 0x0b)...)
	count := cat(gget(0), i32(1), 0x6a, gset(0), i32(8), i32(8), mem(0x28, 0), i32(1), 0x6a, mem(0x36, 0))
	m.export("memory", 2, 0)
	m.export(abi.ExportMarker, 0, m.fn(none, leb(0)))
	m.export(abi.ExportAlloc, 0, m.fn(oneOne, leb(0), i32(1024)))
	m.export(abi.ExportProcess, 0, m.fn(twoOne, leb(0), count,
		i32(12), gget(0), mem(0x36, 0), i32(16), 0xfc, 16, 0, mem(0x36, 0), i32(20), 0x3f, 0, mem(0x36, 0), i32(8), i32(16), invoke(emit), i32(0)))
	m.export(abi.ExportRestore, 0, m.fn(twoOne, leb(0), i32(0)))
	m.export(abi.ExportSnapshot, 0, m.fn(noneLong, leb(0), count, hook(emit), i64(8<<32|4)))
	return m.bytes()
}

// A snapshot's hook that changes what it can changes nothing, whether it succeeds or
// not; one that emits or has effects is a fault that says so.
func TestSnapshotsChangeNothing(t *testing.T) {
	grow := cat(i32(1), 0x40, 0, 0x1a, 0xd0, 0x70, i32(3), 0xfc, 15, 0, 0x1a)
	for name, tc := range map[string]struct {
		hook func(emit int) []byte
		kind abi.FaultKind
		text string
	}{
		"counts":    {func(int) []byte { return nil }, "", ""},
		"grows":     {func(int) []byte { return grow }, "", ""},
		"traps":     {func(int) []byte { return cat(grow, 0) }, abi.FaultTrap, ""},
		"emits":     {func(emit int) []byte { return cat(i32(8), i32(4), invoke(emit)) }, abi.FaultAnswer, "it called emit in wasmhost_snapshot"},
		"publishes": {func(int) []byte { return cat(i32(8), i32(4), i32(8), i32(4), invoke(1), 0x1a) }, abi.FaultAnswer, "it called publish in wasmhost_snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := engine(t).Compile(ctx, hooked(tc.hook), 1024)
			if err != nil {
				t.Fatal(err)
			}
			g, err := m.NewGuest(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			for n := byte(1); n < 4; n++ {
				out, err := g.Process(&Event{Sequence: uint64(n), Time: at.Time}, nil)
				if err != nil || len(out) != 1 || string(out[0]) != string([]byte{n, 0, 0, 0, n, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}) {
					t.Fatalf("event %d: %v, %v", n, out, err)
				}
				before, err := g.Root()
				if err != nil {
					t.Fatal(err)
				}
				state, err := g.Snapshot(&at)
				var f *abi.Fault
				if tc.kind == "" && (err != nil || string(state) != string([]byte{n + 1, 0, 0, 0})) {
					t.Errorf("a snapshot: %v, %v", state, err)
				} else if tc.kind != "" && (!errors.As(err, &f) || f.Kind != tc.kind || f.Call != abi.ExportSnapshot || !strings.Contains(f.Text, tc.text)) {
					t.Errorf("a snapshot: %v, %v", state, err)
				}
				if after, err := g.Root(); err != nil || after != before {
					t.Errorf("the snapshot left a trace: %x, %x, %v", before, after, err)
				}
			}
		})
	}
}

// A hook whose snapshot was taken once, when what it emitted was dropped, gives it
// again where a history is replayed.
func TestSnapshotsOfTheHistoryMayEmit(t *testing.T) {
	m, err := engine(t).Compile(ctx, hooked(func(emit int) []byte { return cat(i32(8), i32(4), invoke(emit)) }), 1024)
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.NewGuest(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	again := at
	again.Replay = true
	if state, err := g.Snapshot(&again); err != nil || len(state) != 4 {
		t.Errorf("%v, %v", state, err)
	}
}
