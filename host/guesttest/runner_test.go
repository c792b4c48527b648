package guesttest_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

func runner(t testing.TB, name string) *guesttest.Runner {
	t.Helper()
	tr, err := guesttest.NewRunner(ctx, guest(t, name), daemon.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(ctx) })
	return tr
}

func sendText(t testing.TB, d *guesttest.Daemon, text string) string {
	t.Helper()
	out, err := d.Send([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Join(out, []byte("|")))
}

// A daemon that is saved goes on where it was: with the same module by
// its memory, with another by hooks, and not at all without.
func TestASavedDaemonGoesOn(t *testing.T) {
	c := runner(t, "c/counter.wasm")
	d, err := c.Spawn(ctx, []byte(`{"start":5}`), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := sendText(t, d, "x"); got != "6" {
		t.Fatalf("%q, want 6", got)
	}
	if _, err := d.Send([]byte("fail"), 0); !errors.As(err, new(*daemon.GuestError)) {
		t.Fatalf("%v, want a guest's error", err)
	}
	saved, err := d.Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := sendText(t, d, "x"); got != "7" {
		t.Fatalf("%q, want 7", got)
	}
	for _, other := range []*guesttest.Runner{c, runner(t, "rust/counter.wasm")} {
		again, err := other.Resume(ctx, saved, nil)
		if err != nil {
			t.Fatal(err)
		}
		if again.Applied() != 1 {
			t.Errorf("%d events applied, want 1", again.Applied())
		}
		if got := sendText(t, again, "x"); got != "7" {
			t.Errorf("%q, want 7", got)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := runner(t, "c/unruly.wasm").Resume(ctx, saved, nil); !errors.Is(err, guesttest.ErrOtherModule) {
		t.Errorf("%v, want ErrOtherModule", err)
	}
	for _, bad := range [][]byte{nil, saved[:len(saved)-1], append(bytes.Clone(saved), 0)} {
		if _, err := c.Resume(ctx, bad, nil); !errors.Is(err, guesttest.ErrMalformed) {
			t.Errorf("%v, want ErrMalformed", err)
		}
	}
}

// Bytes that are no saved daemon are an error, never a panic.
func FuzzResume(f *testing.F) {
	tr := runner(f, "c/counter.wasm")
	d, err := tr.Spawn(ctx, nil, 1, nil)
	if err != nil {
		f.Fatal(err)
	}
	saved, err := d.Save([]byte("config"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved)
	f.Add([]byte{0x89})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := tr.Resume(ctx, b, nil)
		if err != nil {
			return
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
