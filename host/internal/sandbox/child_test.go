package sandbox

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// childVariable makes the test program answer trips in place of running tests.
// It is where compiled guests are.
const childVariable = "WASMHOST_TEST_CHILD"

// trip is a stretch of a guest's life in another process, and what comes back
// of it.
type trip struct {
	Wasm     []byte // empty: as before
	Limits   Limits
	State    *State
	First    int // number of the first event
	Payloads [][]byte
	Answers  []answer
	Root     [32]byte
	Err      string
}

type child struct {
	to   *gob.Encoder
	from *gob.Decoder
	sent bool
}

func startChild(t *testing.T) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+compiled)
	cmd.Stderr = os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(to.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	return &child{to: gob.NewEncoder(to), from: gob.NewDecoder(from)}
}

// travel sends the guest's state over, with events for it to answer there.
func (c *child) travel(t *testing.T, tr *trial, s *State, first int, payloads [][]byte) *trip {
	t.Helper()
	there := &trip{Limits: tr.limits, State: s, First: first, Payloads: payloads}
	if !c.sent {
		there.Wasm, c.sent = tr.wasm, true
	}
	back := new(trip)
	if err := errors.Join(c.to.Encode(there), c.from.Decode(back)); err != nil || back.Err != "" {
		t.Fatalf("another process: %v, %s", err, back.Err)
	}
	return back
}

// beChild answers trips until its input ends.
func beChild() error {
	e, err := NewEngine(ctx, Config{CacheDir: os.Getenv(childVariable)})
	if err != nil {
		return err
	}
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	var m *Module
	for {
		there := new(trip)
		if err := in.Decode(there); err == io.EOF {
			return e.Close(ctx)
		} else if err != nil {
			return err
		}
		if len(there.Wasm) > 0 {
			if m, err = e.Compile(ctx, there.Wasm, 1024); err != nil {
				return err
			}
		}
		back := new(trip)
		if err := back.live(m, there); err != nil {
			back.Err = fmt.Sprint(err)
		}
		if err := out.Encode(back); err != nil {
			return err
		}
	}
}

func (back *trip) live(m *Module, there *trip) error {
	g, err := m.NewGuest(Options{Limits: there.Limits})
	if err != nil {
		return err
	}
	if err := g.Load(there.State); err != nil {
		return err
	}
	for k, p := range there.Payloads {
		back.Answers = append(back.Answers, ask(g, there.First+k, p))
	}
	if back.Root, err = g.Root(); err != nil {
		return err
	}
	if back.State, err = g.Save(); err != nil {
		return err
	}
	return g.Close()
}
