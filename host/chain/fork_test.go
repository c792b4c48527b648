package chain

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// forkFile is a chain file of a fork whose record is as change leaves it, signed by
// by where that is not nil.
func forkFile(t *testing.T, child, by *identity.KeyPair, f ForkRecord, change func(*ForkRecord, *Link)) []byte {
	t.Helper()
	if by != nil {
		if err := f.Sign(by); err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := f.Genesis(1)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&f, &head)
	}
	payload, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	begin := Checkpoint{Purpose: PurposeRestart, Entity: child.ID(), Epoch: 1, Head: head.Hash(payload), State: CodeHash("k", nil)}
	seal := Checkpoint{Purpose: PurposeExport, Entity: child.ID(), Epoch: 1, Head: head.Hash(payload)}
	if err := errors.Join(begin.Sign(child), seal.Sign(child)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString(fileMagic)
	for _, v := range []any{&fileHeader{Entity: child.ID(), Kind: "k", Head: head, Payload: payload, Begin: begin}, &fileItem{Tag: itemSeal, Checks: []Checkpoint{seal}}} {
		b, err := canon.Marshal(v)
		if err == nil {
			err = canon.WriteFrame(&out, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// parentFile is the chain of three outputs at epoch 2, and the hashes of its links.
func parentFile(t *testing.T, key *identity.KeyPair) (file []byte, hashes []Hash) {
	t.Helper()
	id := key.ID()
	genesis := Genesis(id, 2)
	chain := New(genesis, nil)
	hashes = []Hash{chain.HeadHash()}
	begin := Checkpoint{Purpose: PurposeRestart, Entity: id, Epoch: 2, Head: chain.HeadHash(), State: CodeHash("k", nil)}
	if err := begin.Sign(key); err != nil {
		t.Fatal(err)
	}
	frames := []any{&fileHeader{Entity: id, Kind: "k", Head: genesis, Begin: begin}}
	for n := range uint64(3) {
		l := chain.Append(2, 2*n+2, []byte("out")) // each stands for two events
		frames = append(frames, &fileItem{Tag: itemOutput, Links: []Link{l}, Payload: []byte("out")})
		hashes = append(hashes, chain.HeadHash())
	}
	seal := Checkpoint{Purpose: PurposeExport, Entity: id, Epoch: 2, Sequence: 3, Head: chain.HeadHash()}
	if err := seal.Sign(key); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString(fileMagic)
	for _, v := range append(frames, &fileItem{Tag: itemSeal, Checks: []Checkpoint{seal}}) {
		b, err := canon.Marshal(v)
		if err == nil {
			err = canon.WriteFrame(&out, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes(), hashes
}

// Each thing that a fork says of its parent counts: one that differs is found,
// with the parent's chain where that is signed, without it where it is not.
func TestForkIsHeldAgainstItsParent(t *testing.T) {
	parent, child, other := equivocationKey(t, 1), equivocationKey(t, 2), equivocationKey(t, 3)
	file, hashes := parentFile(t, parent)
	good := ForkRecord{Version: ForkVersion, Parent: parent.ID(), Child: child.ID(), Epoch: 2, Sequence: 2, Head: hashes[2], Applied: 4, State: bytes.Repeat([]byte{7}, 32)}
	check := func(b []byte) error {
		_, _, err := VerifyFork(bytes.NewReader(b), bytes.NewReader(file))
		return err
	}
	if err := check(forkFile(t, child, parent, good, nil)); err != nil {
		t.Fatal(err)
	}
	signed := func(change func(*ForkRecord)) []byte {
		f := good
		change(&f)
		return forkFile(t, child, parent, f, nil)
	}
	if err := check(signed(func(f *ForkRecord) { f.Applied = 5 })); err != nil {
		t.Errorf("after an event without outputs: %v", err)
	}
	for name, b := range map[string][]byte{
		"another hash":         signed(func(f *ForkRecord) { f.Head = hashes[1] }),
		"another place":        signed(func(f *ForkRecord) { f.Sequence = 1 }),
		"a place to come":      signed(func(f *ForkRecord) { f.Sequence = 4 }),
		"another epoch":        signed(func(f *ForkRecord) { f.Epoch = 1 }),
		"fewer events":         signed(func(f *ForkRecord) { f.Applied = 3 }),
		"the next one's count": signed(func(f *ForkRecord) { f.Applied = 6 }),
	} {
		if err := check(b); !errors.Is(err, ErrForkMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stranger := good
	stranger.Parent = other.ID()
	if err := check(forkFile(t, child, other, stranger, nil)); !errors.Is(err, ErrForkMismatch) {
		t.Errorf("of another parent: %v", err)
	}
	for name, b := range map[string][]byte{
		"unsigned":              forkFile(t, child, nil, good, nil),
		"signed by the child":   forkFile(t, child, child, good, nil),
		"another state":         forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.State = bytes.Repeat([]byte{8}, 32) }),
		"another child":         forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Child = other.ID() }),
		"its own parent":        forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Parent = child.ID() }),
		"another version":       forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Version = 2 }),
		"another signed place":  forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Checkpoint.Sequence = 1 }),
		"another purpose":       forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Checkpoint.Purpose = PurposeMend }),
		"a genesis after else":  forkFile(t, child, parent, good, func(_ *ForkRecord, l *Link) { l.Parent = hashes[1] }),
		"a genesis of else":     forkFile(t, child, parent, good, func(_ *ForkRecord, l *Link) { l.Horizon = 5 }),
		"a module not its own":  forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.Module = bytes.Repeat([]byte{1}, 32) }),
		"a state of half a sum": forkFile(t, child, parent, good, func(f *ForkRecord, _ *Link) { f.State = f.State[:16] }),
	} {
		if _, err := Verify(bytes.NewReader(b)); !errors.Is(err, ErrBadFork) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// No byte of the file can be another.
	whole := forkFile(t, child, parent, good, nil)
	for k := range whole {
		bad := bytes.Clone(whole)
		bad[k] ^= 4
		if err := check(bad); err == nil {
			t.Fatalf("byte %d can be another", k)
		}
	}
	for k := range file {
		bad := bytes.Clone(file)
		bad[k] ^= 4
		if _, _, err := VerifyFork(bytes.NewReader(whole), bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d of the parent can be another", k)
		}
	}
	if _, _, err := VerifyFork(bytes.NewReader(whole), bytes.NewReader(file[:len(file)-9])); !errors.Is(err, ErrCut) {
		t.Errorf("a parent that is cut: %v", err)
	}
}

// A genesis that names a parent and says nothing of a fork is none.
func TestGenesisFollowsNothing(t *testing.T) {
	key := equivocationKey(t, 1)
	head := Genesis(key.ID(), 1)
	head.Parent = Hash{1}
	begin := Checkpoint{Purpose: PurposeRestart, Entity: key.ID(), Epoch: 1, Head: head.Hash(nil), State: CodeHash("k", nil)}
	if err := begin.Sign(key); err != nil {
		t.Fatal(err)
	}
	b, err := canon.Marshal(&fileHeader{Entity: key.ID(), Kind: "k", Head: head, Begin: begin})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString(fileMagic)
	if err := canon.WriteFrame(&out, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(&out); !errors.Is(err, ErrParentMismatch) {
		t.Error(err)
	}
}

func FuzzDecodeFork(f *testing.F) {
	parent, err := identity.FromSeed(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	r := ForkRecord{Version: ForkVersion, Parent: parent.ID(), Child: identity.EntityID{1}, Epoch: 1, Head: Hash{2}}
	if err := r.Sign(parent); err != nil {
		f.Fatal(err)
	}
	b, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(append(bytes.Clone(b), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeFork(b)
		if err != nil {
			if !errors.Is(err, ErrBadFork) || errors.Is(err, io.EOF) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x, %v", b, again, err)
		}
	})
}
