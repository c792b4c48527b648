package host_test

import (
	"bytes"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
)

// A delivery allocates what it hands over and nothing else: the outputs are one
// piece of memory, or two where they are large. Each output has its own bytes.
func TestDeliverAllocatesTheOutputAlone(t *testing.T) {
	if lock.Checked {
		t.Skip("checking the order of locks allocates")
	}
	r := ready(t)
	if _, err := r.Kinds().Push(ctx, "echo", guest(t, "c/echo.wasm")); err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 16, 17, 64, 144, 145, 400, 401, 4000} {
		ev := daemon.Event{Payload: bytes.Repeat([]byte{byte(size)}, size)}
		var last, before daemon.Result
		allocated := testing.AllocsPerRun(100, func() {
			before = last
			if last, err = r.Deliver(ctx, d.Entity, ev); err != nil {
				t.Fatal(err)
			}
		})
		most := 1.0
		if size > 400 {
			most = 2
		}
		if size > 904 { // the digest of what does not fit on the stack
			most++
		}
		if allocated > most {
			t.Errorf("%d bytes: %v allocations, want %v", size, allocated, most)
		}
		a, b := before.Outputs[0].Payload, last.Outputs[0].Payload
		if !bytes.Equal(a, ev.Payload) || !bytes.Equal(b, ev.Payload) || cap(b) != len(b) {
			t.Fatalf("%d bytes: the outputs are %d and %d bytes, with room for %d", size, len(a), len(b), cap(b))
		}
		if size > 0 {
			if b[0]++; a[0] == b[0] {
				t.Errorf("%d bytes: two outputs share their bytes", size)
			}
		}
	}
}
