package host_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
)

// Who found a daemon and reads what is stored of it when it has left hears where it went,
// and not that data are damaged: who follows it goes on there.
func TestReadersOfADaemonThatLeftHearWhere(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), t.TempDir(), nil), start(t, &net, newKey(t), t.TempDir(), nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	for _, want := range []string{"1", "2", "3"} {
		a.wantSend(d.Entity, "x", want)
	}
	tail, export, err := a.FoundBefore(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	a.migrate(d.Entity, b)
	net.Settle()

	var file bytes.Buffer
	for name, err := range map[string]error{"tail": tail(ctx, 2), "tail from the beginning": tail(ctx, 0), "export": export(ctx, &file)} {
		var moved *daemon.MovedError
		if !errors.As(err, &moved) || moved.Node != b.Self() {
			t.Errorf("%s: %v, want that it moved to %s", name, err, b.Self())
		}
	}
}
