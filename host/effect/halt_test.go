package effect_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host/effect"
)

func TestAStoppedStateIsKept(t *testing.T) {
	var s effect.State
	s.Halt(true)
	enc, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := effect.Decode(enc)
	if err != nil || !back.Halted() || !back.Resting().Halted() {
		t.Fatalf("%x is %+v, %v; want a stopped state", enc, back, err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(again, enc) {
		t.Errorf("encoded again it is %x, %v; want %x", again, err, enc)
	}
	if f := back.Fork(); f.Halted() {
		t.Error("a fork of it is stopped")
	}
	for name, at := range map[string]int{"version": 1, "halted": len(enc) - 1} {
		bad := bytes.Clone(enc)
		bad[at] ^= 1
		if _, err := effect.Decode(bad); !errors.Is(err, effect.ErrBadState) {
			t.Errorf("with another %s: %v", name, err)
		}
	}
	back.Halt(false)
	if enc, err := back.Encode(); err != nil || len(enc) != 0 {
		t.Errorf("started, it is %x, %v; want nothing", enc, err)
	}
}
