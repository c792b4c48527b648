package host

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
func statedBy(t testing.TB, owner, node *identity.KeyPair, epoch uint64, moves ...[]byte) *Residence {
	t.Helper()
	s := &Residence{Version: ResidenceVersion, Entity: owner.ID(), Node: node.ID(), Epoch: epoch, Index: 3, Nonce: make([]byte, residenceNonce),
		Time: 1, Expires: 1 + int64(residenceFor), Moves: moves}
	if err := s.sign(owner, node); err != nil {
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
	canontest.Golden(t, "testdata/golden/residence1.txt", &Residence{Version: ResidenceVersion})
}

// A statement proves what it says to who asked, of that daemon, on that node, for a
// minute at most; anything else is ErrUnproven.
func TestWhatAResidenceStatementProves(t *testing.T) {
	owner, node, other := residenceKey(t, 1), residenceKey(t, 2), residenceKey(t, 3)
	nonce := make([]byte, residenceNonce)
	good := statedBy(t, owner, node, 4)
	if p, err := good.verify(owner.ID(), node.ID().Node(), nonce, false); err != nil || p.epoch != 4 || p.holds != time.Minute {
		t.Fatalf("%+v, %v", p, err)
	}
	resigned := func(change func(*Residence), owner, node *identity.KeyPair) *Residence {
		s := *good
		change(&s)
		if err := s.sign(owner, node); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	for name, s := range map[string]*Residence{
		"another daemon's key":   resigned(func(*Residence) {}, other, node),
		"another node's key":     resigned(func(*Residence) {}, owner, other),
		"another node's name":    resigned(func(s *Residence) { s.Node = other.ID() }, owner, other),
		"another's answer":       resigned(func(s *Residence) { s.Nonce = bytes.Repeat([]byte{9}, residenceNonce) }, owner, node),
		"no daemon's signature":  resigned(func(*Residence) {}, identity.PublicOnly(owner.ID()), node),
		"for an hour":            resigned(func(s *Residence) { s.Expires += int64(time.Hour) }, owner, node),
		"for no time":            resigned(func(s *Residence) { s.Expires = s.Time }, owner, node),
		"epoch 2^62":             resigned(func(s *Residence) { s.Epoch = 1 << 62 }, owner, node),
		"epoch 0":                resigned(func(s *Residence) { s.Epoch = 0 }, owner, node),
		"a move that is none":    resigned(func(s *Residence) { s.Moves = [][]byte{{1, 2}} }, owner, node),
		"a move that is to come": resigned(func(s *Residence) { s.Moves = [][]byte{moveBy(t, owner, other, node, 9)} }, owner, node),
		"changed afterwards":     func() *Residence { s := *good; s.Epoch = 5; return &s }(),
		"another version":        resigned(func(s *Residence) { s.Version = 9 }, owner, node),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := canon.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeResidence(b)
			if err == nil {
				_, err = got.verify(owner.ID(), node.ID().Node(), nonce, false)
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
	nonce := make([]byte, residenceNonce)
	weigh := func(s *Residence, node *identity.KeyPair) *provenResidence {
		t.Helper()
		p, err := s.verify(owner.ID(), node.ID().Node(), nonce, false)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	moved := moveBy(t, owner, former, owner, 2)
	true1 := weigh(statedBy(t, owner, owner, 2, moved), owner)
	const far = chain.CountLimit - 1
	for name, p := range map[string]*provenResidence{
		"a claim without a move":     weigh(statedBy(t, owner, former, far), former),
		"with the move away":         weigh(statedBy(t, owner, former, far, moved), former),
		"a return that it signed":    weigh(statedBy(t, owner, former, far, moved, moveBy(t, owner, accomplice, former, far)), former),
		"a move that skips an epoch": weigh(statedBy(t, owner, accomplice, far, moveBy(t, owner, former, accomplice, far)), accomplice),
		"moves among accomplices":    weigh(statedBy(t, owner, accomplice, far, moveBy(t, owner, accomplice, former, far-1), moveBy(t, owner, former, accomplice, far)), accomplice),
	} {
		if p.rank() >= true1.rank() {
			t.Errorf("%s: rank %d, the owner's is %d", name, p.rank(), true1.rank())
		}
		last := lastKnown{owner.ID().Node(), 2}
		if last.led(p.moves, p.node) {
			t.Errorf("%s: it follows on the owner", name)
		}
	}
	if last := (lastKnown{former.ID().Node(), 1}); !last.led(true1.moves, true1.node) {
		t.Error("the owner does not follow on the former host")
	}
}

func FuzzDecodeResidence(f *testing.F) {
	owner, node := residenceKey(f, 1), residenceKey(f, 2)
	for _, s := range []*Residence{statedBy(f, owner, node, 1), statedBy(f, owner, node, 2, moveBy(f, owner, node, node, 2)), {Version: ResidenceVersion}} {
		b, err := canon.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeResidence(b)
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
