package host_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// overrunFuel is the limit of the daemons in testdata/data/fuel-1.tgz.
const overrunFuel = 1 << 20

// overrun is a module that counts its events and answers with the count. An event
// "b", and a configuration that is not empty, fill 64 KiB so many times in a
// straight line, 4096 units of fuel each; "t" traps after it has counted.
func overrun(fills int) []byte {
	leb := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	vec := func(b ...byte) []byte { return append(leb(len(b)), b...) }
	var wasm []byte
	section := func(id byte, items ...[]byte) {
		body := leb(len(items))
		for _, i := range items {
			body = append(body, i...)
		}
		wasm = append(append(wasm, id), vec(body...)...)
	}
	name := func(s string) []byte { return vec([]byte(s)...) }
	export := func(s string, kind, index byte) []byte { return append(name(s), kind, index) }
	code := func(b ...byte) []byte { return vec(append(append([]byte{0}, b...), 0x0b)...) }

	var bomb []byte
	for range fills {
		bomb = append(bomb, 0x41, 0x80, 0x80, 0x04, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0) // 64 KiB at 65536
	}
	on := func(c byte, then ...byte) []byte { // where the event begins with c
		b := []byte{0x20, 0, 0x2d, 0, 0, 0x41, c | 0x80, 0, 0x46, 0x04, 0x40} // local.get 0; i32.load8_u; i32.const c; i32.eq; if
		return append(append(b, then...), 0x0b)
	}
	process := []byte{0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, 0x41, 0, 0x41, 1, 0x10, 0} // count at 0; emit its first byte
	process = append(append(process, on('b', bomb...)...), on('t', 0x00)...)
	start := append(append([]byte{0x20, 1, 0x04, 0x40}, bomb...), 0x0b, 0x41, 0)

	wasm = []byte("\x00asm\x01\x00\x00\x00")
	section(1, []byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 0})
	section(2, append(append(name(abi.ImportModule), name(abi.ImportEmit)...), 0, 3))
	section(3, []byte{0}, []byte{1}, []byte{2}, []byte{2})
	section(5, []byte{0, 2})
	section(7, export("memory", 2, 0), export(abi.ExportMarker, 0, 1), export(abi.ExportAlloc, 0, 2), export(abi.ExportProcess, 0, 3), export(abi.ExportInit, 0, 4))
	section(10, code(), code(0x41, 0x80, 0x08), code(append(process, 0x41, 0)...), code(start...))
	return wasm
}

var writeFuel = flag.Bool("write-fuel", false, "write testdata/data/fuel-1.tgz: only a program whose charging has version 1 may")

// writeOverrun makes the data directory that TestEventsOfAnEarlierChargingReplay
// reads, and copies it while the host runs, as a crash leaves it.
func writeOverrun(t *testing.T, to string) {
	dir, left, key := t.TempDir(), t.TempDir(), newKey(t)
	if err := identity.WriteKeyFile(filepath.Join(dir, "node.key"), key, nil); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r, s := goldenHost(t, dir, key, &log)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Kinds().Push(ctx, "overrun", overrun(1000)); err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]daemon.Limits{"all": {Fuel: overrunFuel}, "stored": {Fuel: overrunFuel, SnapshotEvents: 2}} {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "overrun", Name: name, Config: []byte("x"), Limits: own})
		if err != nil {
			t.Fatal(err)
		}
		for _, payload := range []string{"x", "b", "b", "x", "b"} {
			if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(payload)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Commit(&store.Batch{}); err != nil { // what was submitted before is on disk
		t.Fatal(err)
	}
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(left)), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Daemons whose initialisation and events went over their limit of fuel under
// version 1 of charging, which did not notice, are brought back as they were: from
// their whole history, and from a stored state. What fails later is undone past
// such events, a fork is made of their past, and no further such event succeeds.
func TestEventsOfAnEarlierChargingReplay(t *testing.T) {
	file := filepath.Join("testdata", "data", "fuel-1.tgz")
	if *writeFuel {
		writeOverrun(t, file)
	}
	dir := t.TempDir()
	unpack(t, file, dir)
	key, err := identity.ReadKeyFile(filepath.Join(dir, "node.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		var log bytes.Buffer
		r, s := goldenHost(t, dir, key, &log)
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"all", "stored"} {
			id, err := r.Daemons().Resolve(name)
			if err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			send := func(payload string, want byte) {
				t.Helper()
				res, err := r.Deliver(ctx, id, daemon.Event{Payload: []byte(payload)})
				if err != nil || len(res.Outputs) != 1 || res.Outputs[0].Payload[0] != want {
					t.Errorf("round %d: %s answers %+v, %v; want %d", round, name, res, err, want)
				}
			}
			fails := func(payload, limit string) {
				t.Helper()
				var f *abi.Fault
				if _, err := r.Deliver(ctx, id, daemon.Event{Payload: []byte(payload)}); !errors.As(err, &f) || f.Limit != limit {
					t.Errorf("round %d: %s answers %v to %q, want the limit %q", round, name, err, payload, limit)
				}
			}
			fails("t", "")
			send("x", byte(6+2*round))
			fails("b", abi.LimitFuel)
			fails("t", "")
			send("x", byte(7+2*round))
			if third := uint64(3); name == "all" {
				fork, err := r.Fork(ctx, id, host.ForkRequest{At: &third})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Stop(ctx, fork[0].Entity); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil || log.Len() > 0 {
			t.Errorf("%v\n%s", err, log.String())
		}
	}
}
