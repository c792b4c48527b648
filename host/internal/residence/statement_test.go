package residence

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/internal/canon/canontest"
)

func residenceKey(t testing.TB, n byte) *identity.KeyPair {
	t.Helper()
	k, err := identity.FromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// stated is a statement of the daemon on the node at an epoch.
func statedBy(t testing.TB, owner, node *identity.KeyPair, epoch uint64, moves ...[]byte) *Statement {
	t.Helper()
	s := &Statement{Version: Version, Entity: owner.ID(), Node: node.ID(), Epoch: epoch, Index: 3, Nonce: make([]byte, NonceSize),
		Time: 1, Expires: 1 + int64(HoldsFor), Moves: moves}
	if err := s.Sign(owner, node); err != nil {
		t.Fatal(err)
	}
	return s
}

// moveBy is a receipt of a move, signed by whoever says that they are from and to.
func moveBy(t testing.TB, owner, from, to *identity.KeyPair, epoch uint64) []byte {
	t.Helper()
	rec := &chain.Receipt{Facts: chain.ReceiptFacts{Version: chain.ReceiptVersion, Migration: [16]byte{1}, Entity: owner.ID(), Kind: "n", From: from.ID().Node(), To: to.ID().Node(), Epoch: epoch}}
	err := rec.SignTarget(to, chain.ReceiptTarget{})
	if err == nil {
		err = rec.SignSource(from, chain.ReceiptSource{})
	}
	b, encErr := rec.Encode()
	if err := errors.Join(err, encErr); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestResidenceStatementIsAsItWas(t *testing.T) {
	canontest.Golden(t, "testdata/golden/residence1.txt", &Statement{Version: Version})
}

// A statement proves what it says to who asked, of that daemon, on that node, for a
// minute at most; anything else is ErrUnproven.
func TestWhatAResidenceStatementProves(t *testing.T) {
	owner, node, other := residenceKey(t, 1), residenceKey(t, 2), residenceKey(t, 3)
	nonce := make([]byte, NonceSize)
	good := statedBy(t, owner, node, 4)
	if p, err := good.Verify(owner.ID(), node.ID().Node(), nonce, false); err != nil || p.Epoch != 4 || p.Holds != time.Minute {
		t.Fatalf("%+v, %v", p, err)
	}
	resigned := func(change func(*Statement), owner, node *identity.KeyPair) *Statement {
		s := *good
		change(&s)
		if err := s.Sign(owner, node); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	for name, s := range map[string]*Statement{
		"another daemon's key":   resigned(func(*Statement) {}, other, node),
		"another node's key":     resigned(func(*Statement) {}, owner, other),
		"another node's name":    resigned(func(s *Statement) { s.Node = other.ID() }, owner, other),
		"another's answer":       resigned(func(s *Statement) { s.Nonce = bytes.Repeat([]byte{9}, NonceSize) }, owner, node),
		"no daemon's signature":  resigned(func(*Statement) {}, identity.PublicOnly(owner.ID()), node),
		"for an hour":            resigned(func(s *Statement) { s.Expires += int64(time.Hour) }, owner, node),
		"for no time":            resigned(func(s *Statement) { s.Expires = s.Time }, owner, node),
		"epoch 2^62":             resigned(func(s *Statement) { s.Epoch = 1 << 62 }, owner, node),
		"epoch 0":                resigned(func(s *Statement) { s.Epoch = 0 }, owner, node),
		"a move that is none":    resigned(func(s *Statement) { s.Moves = [][]byte{{1, 2}} }, owner, node),
		"a move that is to come": resigned(func(s *Statement) { s.Moves = [][]byte{moveBy(t, owner, other, node, 9)} }, owner, node),
		"changed afterwards":     func() *Statement { s := *good; s.Epoch = 5; return &s }(),
		"another version":        resigned(func(s *Statement) { s.Version = 9 }, owner, node),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := canon.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(b)
			if err == nil {
				_, err = got.Verify(owner.ID(), node.ID().Node(), nonce, false)
			}
			if !errors.Is(err, daemon.ErrUnproven) {
				t.Errorf("got %v, want ErrUnproven", err)
			}
		})
	}
}

// Whoever had the daemon once has its key. What it claims beyond the receipts of the
// nodes that gave the daemon away counts for nothing.
func TestFormerHostIsOutranked(t *testing.T) {
	owner := residenceKey(t, 1)
	former, owner, accomplice := residenceKey(t, 2), residenceKey(t, 3), residenceKey(t, 4)
	nonce := make([]byte, NonceSize)
	weigh := func(s *Statement, node *identity.KeyPair) *Proof {
		t.Helper()
		p, err := s.Verify(owner.ID(), node.ID().Node(), nonce, false)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	moved := moveBy(t, owner, former, owner, 2)
	true1 := weigh(statedBy(t, owner, owner, 2, moved), owner)
	const far = chain.CountLimit - 1
	for name, p := range map[string]*Proof{
		"a claim without a move":     weigh(statedBy(t, owner, former, far), former),
		"with the move away":         weigh(statedBy(t, owner, former, far, moved), former),
		"a return that it signed":    weigh(statedBy(t, owner, former, far, moved, moveBy(t, owner, accomplice, former, far)), former),
		"a move that skips an epoch": weigh(statedBy(t, owner, accomplice, far, moveBy(t, owner, former, accomplice, far)), accomplice),
		"moves among accomplices":    weigh(statedBy(t, owner, accomplice, far, moveBy(t, owner, accomplice, former, far-1), moveBy(t, owner, former, accomplice, far)), accomplice),
	} {
		if p.Rank() >= true1.Rank() {
			t.Errorf("%s: rank %d, the owner's is %d", name, p.Rank(), true1.Rank())
		}
		last := Owner{owner.ID().Node(), 2}
		if last.Led(p.Moves, p.Node) {
			t.Errorf("%s: it follows on the owner", name)
		}
	}
	if last := (Owner{former.ID().Node(), 1}); !last.Led(true1.Moves, true1.Node) {
		t.Error("the owner does not follow on the former host")
	}
}

func FuzzDecodeResidence(f *testing.F) {
	owner, node := residenceKey(f, 1), residenceKey(f, 2)
	for _, s := range []*Statement{statedBy(f, owner, node, 1), statedBy(f, owner, node, 2, moveBy(f, owner, node, node, 2)), {Version: Version}} {
		b, err := canon.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			if !errors.Is(err, daemon.ErrUnproven) {
				t.Errorf("got %v, want ErrUnproven", err)
			}
			return
		}
		if again, err := canon.Marshal(s); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
	})
}
