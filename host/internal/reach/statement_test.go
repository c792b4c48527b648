package reach

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

func newKey(t testing.TB, n byte) *identity.KeyPair {
	t.Helper()
	k, err := identity.FromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signedReach(t testing.TB, key *identity.KeyPair, node identity.NodeID, nonce []byte) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte("record"))
	s := &statement{Entity: key.ID(), Node: node, Epoch: 2, Next: 7, Sum: sum[:], Nonce: nonce}
	b, err := s.sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReachIsSignedByTheDaemonForTheAsker(t *testing.T) {
	daemon, other := newKey(t, 1), newKey(t, 2)
	nonce := bytes.Repeat([]byte{5}, 16)
	b := signedReach(t, daemon, 9, nonce)
	if e, err := Verify(b, daemon.ID(), 9, nonce); err != nil || e.Epoch != 2 || e.Next != 7 {
		t.Fatalf("a proof is read as %+v, %v", e, err)
	}
	forged := &statement{Entity: daemon.ID(), Node: 9, Epoch: 2, Next: 7, Sum: make([]byte, 32), Nonce: nonce}
	byAnother, err := forged.sign(other)
	if err != nil {
		t.Fatal(err)
	}
	high := &statement{Entity: daemon.ID(), Node: 9, Epoch: chain.CountLimit, Next: 7, Sum: make([]byte, 32), Nonce: nonce}
	tooHigh, err := high.sign(daemon)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b     []byte
		id    identity.EntityID
		node  identity.NodeID
		nonce []byte
	}{
		"another daemon's":        {b, other.ID(), 9, nonce},
		"another node's":          {b, daemon.ID(), 8, nonce},
		"an answer of before":     {b, daemon.ID(), 9, bytes.Repeat([]byte{6}, 16)},
		"signed by another":       {byAnother, daemon.ID(), 9, nonce},
		"of an epoch beyond all":  {tooHigh, daemon.ID(), 9, nonce},
		"cut":                     {b[:len(b)-1], daemon.ID(), 9, nonce},
		"with a byte more":        {append(bytes.Clone(b), 0), daemon.ID(), 9, nonce},
		"empty":                   {nil, daemon.ID(), 9, nonce},
		"with a changed sequence": {bytes.Replace(b, []byte{2, 7}, []byte{2, 8}, 1), daemon.ID(), 9, nonce},
	} {
		if e, err := Verify(c.b, c.id, c.node, c.nonce); !errors.Is(err, ErrBadProof) {
			t.Errorf("%s: got %+v, %v, want ErrBadProof", name, e, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(signedReach(f, newKey(f, 1), 9, []byte{}))
	f.Add(signedReach(f, newKey(f, 2), 1, bytes.Repeat([]byte{5}, 16)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrBadProof) {
				t.Errorf("got %v, want ErrBadProof", err)
			}
			return
		}
		if again, err := canon.Marshal(s); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
	})
}
