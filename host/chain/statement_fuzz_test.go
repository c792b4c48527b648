package chain_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

func FuzzDecodeStatement(f *testing.F) {
	daemon, err := identity.FromSeed(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	c := &chain.Checkpoint{Purpose: chain.PurposeExport, Entity: daemon.ID(), Epoch: 1, Sequence: 3}
	if err := c.Sign(daemon); err != nil {
		f.Fatal(err)
	}
	for _, s := range []*chain.Statement{{Links: []chain.StatedLink{}, Checkpoint: *c}, {Links: []chain.StatedLink{{Link: chain.Link{Origin: daemon.ID(), Epoch: 1, Sequence: 3}, Payload: []byte("x")}}, Checkpoint: *c}} {
		b, err := canon.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := chain.DecodeStatement(b)
		if err != nil {
			if !errors.Is(err, chain.ErrBadProof) {
				t.Errorf("got %v, want ErrBadProof", err)
			}
			return
		}
		if again, err := canon.Marshal(s); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
	})
}
