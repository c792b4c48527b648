package guesttest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

func adapted(t *testing.T, name, convention string) *guesttest.Runner {
	t.Helper()
	wasm, err := abi.Adapt(guest(t, name), convention, "")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := guesttest.NewRunner(ctx, wasm, daemon.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(ctx) })
	return tr
}

// A plug-in's memory and variables are its state: failures take both back, over
// many events too, and a captured one is made again with both.
func TestPluginStateIsMemoryAndVariables(t *testing.T) {
	plugins := adapted(t, "foreign/tally.wasm", abi.ConventionExtism)
	d, err := plugins.Spawn(ctx, []byte(`{"greeting":"hi"}`), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Another takes turns with it on the module's instances.
	other, err := plugins.Spawn(ctx, nil, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { d.Close(); other.Close() }()
	last := ""
	for n := 1; n <= 3000; n++ {
		in := fmt.Sprint("event ", n)
		if got, want := sendText(t, d, in), strings.TrimSuffix(fmt.Sprintf("%d hi %s %s", n, last, in), " "); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		last = in
		if n%100 == 0 {
			if _, err := d.Send([]byte("fail"), 0); !errors.As(err, new(*daemon.GuestError)) {
				t.Fatalf("%v, want a guest's error", err)
			}
		}
		if n%250 == 0 {
			if got := sendText(t, other, "x"); !strings.HasPrefix(got, fmt.Sprint(n/250, "  ")) {
				t.Fatalf("the other answers %q", got)
			}
			saved, err := d.Save(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if d, err = plugins.Resume(ctx, saved, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A program begins anew for each event, also after one that failed, and reads
// all of its input whatever its size.
func TestProgramIsRunAnew(t *testing.T) {
	programs := adapted(t, "foreign/upper.wasm", abi.ConventionCommand)
	d, err := programs.Spawn(ctx, []byte("a\nb\n"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	large := strings.Repeat("word ", 20_000)
	for range 3 {
		for _, in := range []string{"x", "", "fail", large, "crash", "y"} {
			out, err := d.Send([]byte(in), 0)
			var fault *daemon.GuestError
			switch {
			case in == "fail":
				if !errors.As(err, &fault) || fault.Kind != abi.FaultError || fault.Code != 3 || fault.Text != "asked to fail" {
					t.Errorf("fail: %v", err)
				}
			case in == "crash":
				if !errors.As(err, &fault) || fault.Kind != abi.FaultTrap {
					t.Errorf("crash: %v", err)
				}
			case err != nil || len(out) != 1 || string(out[0]) != "a b "+strings.ToUpper(in):
				t.Errorf("%.20q: %.40q, %v", in, out, err)
			}
		}
	}
}
