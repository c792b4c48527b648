package guesttest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// A module is tested without a node: a Runner makes daemons of it and sends them events.
func ExampleRunner() {
	ctx := context.Background()
	wasm, err := os.ReadFile("../../testdata/wasm/c/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}
	r, err := guesttest.NewRunner(ctx, wasm, daemon.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close(ctx)
	d, err := r.Spawn(ctx, []byte(`{"start":5}`), 0, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	outputs, err := d.Send([]byte("x"), 0)
	fmt.Printf("%s %v\n", outputs, err)
	_, err = d.Send([]byte("fail"), 0) // an event that the guest refuses leaves no trace
	var refused *daemon.GuestError
	fmt.Println(errors.As(err, &refused), d.Applied())
	// Output:
	// [6] <nil>
	// true 1
}

// A good guest keeps rules: the same events give the same outputs, events that fail leave
// nothing behind, and hooks carry all of the state.
func ExampleConformance() {
	ctx := context.Background()
	wasm, err := os.ReadFile("../../testdata/wasm/c/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}
	r, err := guesttest.NewRunner(ctx, wasm, daemon.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close(ctx)

	check := guesttest.Conformance{Runner: r, Events: [][]byte{[]byte("x"), []byte("fail")}, Many: 100}
	err = check.Run(ctx, func(v guesttest.RuleVerdict) error {
		if v.Verdict == guesttest.Failed {
			fmt.Printf("%s: %s (%s)\n", v.Rule, v.Detail, v.Mend)
		}
		return nil
	})
	fmt.Println(err)
	// Output: <nil>
}

// Hooks carry a daemon to another version of its module. A CrossCheck finds state that
// they leave behind.
func ExampleCrossCheck() {
	wasm, err := os.ReadFile("../../testdata/wasm/c/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}
	events := []string{"x", "y", "z"}
	next := func() ([]byte, error) {
		if len(events) == 0 {
			return nil, io.EOF
		}
		event := events[0]
		events = events[1:]
		return []byte(event), nil
	}

	check, differ := guesttest.CrossCheck{Wasm: wasm, Next: 2}, 0
	err = check.Run(context.Background(), next, func(v guesttest.Verdict) error {
		if !v.Same() {
			differ++
		}
		return nil
	})
	fmt.Println(differ, err)
	// Output: 0 <nil>
}
