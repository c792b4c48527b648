package chain

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

func equivocationKey(t testing.TB, n byte) *identity.KeyPair {
	t.Helper()
	k, err := identity.FromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// toldChain is a chain as a daemon of key makes it: what it emits and signs.
type toldChain struct {
	key   *identity.KeyPair
	chain Chain
	epoch uint64
	items []any // StatedLink or Checkpoint
}

func newToldChain(key *identity.KeyPair) *toldChain {
	g := Genesis(key.ID(), 1)
	return &toldChain{key: key, chain: New(g, nil), epoch: 1, items: []any{StatedLink{Link: g, Payload: []byte{}}}}
}

func (c *toldChain) fork() *toldChain {
	f := *c
	f.items = append([]any(nil), c.items...)
	return &f
}

func (c *toldChain) emit(payload string) {
	before := c.chain.Head()
	c.items = append(c.items, StatedLink{Link: c.chain.Append(c.epoch, before.Horizon+1, []byte(payload)), Payload: []byte(payload)})
}

func (c *toldChain) sign(p Purpose, epoch uint64, state []byte) {
	check := Checkpoint{Purpose: p, Entity: c.key.ID(), Epoch: epoch, Sequence: c.chain.Sequence(), Head: c.chain.HeadHash(), State: state}
	if err := check.Sign(c.key); err != nil {
		panic(err)
	}
	c.items = append(c.items, check)
}

// move hands the daemon over.
func (c *toldChain) move(to identity.NodeID) {
	c.sign(PurposeHandover, c.epoch+1, Handover(1, to))
	c.epoch++
}

func (c *toldChain) source(t *Claims) error {
	for _, i := range c.items {
		switch i := i.(type) {
		case StatedLink:
			t.Output(&i.Link, i.Payload, i.Link.Hash(i.Payload))
		case Checkpoint:
			t.Stated(&i)
		}
	}
	return nil
}

func proveTold(a, b *toldChain) (*Equivocation, error) {
	return FindConflict(func() identity.EntityID { return a.key.ID() }, a.source, b.source)
}

// What contradicts what, and what does not.
func TestWhatIsEquivocation(t *testing.T) {
	begun := newToldChain(equivocationKey(t, 1))
	begun.emit("1")
	for name, c := range map[string]struct {
		a, b     func(*toldChain)
		want     string // epoch, sequence; empty: no contradiction
		handover bool
		links    int // in the proof
	}{
		"the same": {func(c *toldChain) { c.sign(PurposeExport, 1, nil) }, func(c *toldChain) { c.sign(PurposeExport, 1, nil) }, "", false, 0},
		"one goes on": {func(c *toldChain) { c.sign(PurposeExport, 1, nil) }, func(c *toldChain) {
			c.emit("2")
			c.sign(PurposeExport, 1, nil)
		}, "", false, 0},
		"snapshots of one place": {func(c *toldChain) { c.sign(PurposeSnapshot, 1, []byte("x")) }, func(c *toldChain) { c.sign(PurposeSnapshot, 1, []byte("y")) }, "", false, 0},
		"two links signed at once": {func(c *toldChain) {
			c.emit("2")
			c.sign(PurposeExport, 1, nil)
		}, func(c *toldChain) {
			c.emit("two")
			c.sign(PurposePeriodic, 1, nil)
		}, "1 2", false, 0},
		"signed later": {func(c *toldChain) {
			c.emit("2")
			c.emit("3")
			c.sign(PurposeExport, 1, nil)
		}, func(c *toldChain) {
			c.emit("two")
			c.sign(PurposePeriodic, 1, nil)
		}, "1 2", false, 2},
		"not signed at all": {func(c *toldChain) { c.emit("2") }, func(c *toldChain) {
			c.emit("two")
			c.sign(PurposeExport, 1, nil)
		}, "", false, 0},
		"under a higher epoch": {func(c *toldChain) {
			c.emit("2")
			c.sign(PurposeExport, 1, nil)
		}, func(c *toldChain) {
			c.epoch = 2
			c.sign(PurposeMend, 2, []byte("fact"))
			c.emit("two")
			c.sign(PurposeExport, 2, nil)
		}, "", false, 0},
		"after the hand-over": {func(c *toldChain) {
			c.emit("2")
			c.move(7)
		}, func(c *toldChain) {
			c.emit("two")
			c.sign(PurposeExport, 1, nil)
		}, "1 2", false, 1}, // the hand-over is of epoch 2; what it signs is of epoch 1
		"handed to two":                    {func(c *toldChain) { c.move(7) }, func(c *toldChain) { c.move(8) }, "2 1", true, 0},
		"handed over twice, at two places": {func(c *toldChain) { c.move(7) }, func(c *toldChain) { c.emit("2"); c.move(7) }, "2 1", true, 0},
		"handed over again":                {func(c *toldChain) { c.move(7) }, func(c *toldChain) { c.move(7); c.emit("2"); c.move(8) }, "", false, 0},
	} {
		a, b := begun.fork(), begun.fork()
		c.a(a)
		c.b(b)
		for k, pair := range [][2]*toldChain{{a, b}, {b, a}} {
			e, err := proveTold(pair[0], pair[1])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if e == nil {
				if c.want != "" {
					t.Errorf("%s: nothing is found", name)
				}
				continue
			}
			got, err := e.Verify()
			links := len(e.Statements[0].Links) + len(e.Statements[1].Links)
			if err != nil || fmt.Sprint(got.Epoch, " ", got.Sequence) != c.want || got.Handover != c.handover || links != c.links {
				t.Errorf("%s, %d: %+v with %d links, %v", name, k, got, links, err)
			}
		}
	}
}

// drawn makes a chain go on at random.
func (c *toldChain) drawn(t *draw.T, word string) {
	for range draw.Int(t, word+" length", 0, 12) {
		switch draw.Int(t, word+" step", 0, 9) {
		case 0:
			c.move(identity.NodeID(draw.Int(t, "to", 2, 4)))
		case 1, 2:
			c.sign(PurposePeriodic, c.epoch, nil)
		default:
			c.emit(word)
		}
	}
}

// places are what a chain's signatures bear out.
func (c *toldChain) places() map[place]Hash {
	var t Claims
	_ = c.source(&t) // never fails
	out := make(map[place]Hash)
	for i, o := range t.outputs {
		for k := range t.checks {
			if t.at[k] > i {
				out[place{o.epoch, o.sequence}] = o.hash
			}
		}
	}
	for _, check := range t.checks {
		out[place{check.Epoch, check.Sequence}] = check.Head
	}
	return out
}

// Of two chains that share a beginning a proof is found exactly where they say two
// things of one place; it verifies, has one form, and no bit of it can be changed.
func TestEquivocationProperties(t *testing.T) {
	key := equivocationKey(t, 1)
	draw.Check(t, func(t *draw.T) {
		a := newToldChain(key)
		a.drawn(t, "common")
		b := a.fork()
		a.drawn(t, "left")
		if draw.Bool(t, "b knows a's") { // an honest one
			b = a.fork()
		}
		b.drawn(t, draw.One(t, "b's word", "left", "right"))
		a.sign(PurposeExport, a.epoch, nil)
		if draw.Bool(t, "b is signed") {
			b.sign(PurposeExport, b.epoch, nil)
		}
		want := false
		theirs := b.places()
		for p, h := range a.places() {
			o, both := theirs[p]
			want = want || both && o != h
		}
		for _, x := range a.items {
			for _, y := range b.items {
				c, ok1 := x.(Checkpoint)
				d, ok2 := y.(Checkpoint)
				want = want || ok1 && ok2 && handedTwice(&c, &d)
			}
		}
		e, err := proveTold(a, b)
		if err != nil || (e != nil) != want {
			t.Fatalf("found %v, want %v; %v", e != nil, want, err)
		}
		if e == nil {
			return
		}
		other, err := proveTold(b, a)
		if err != nil || other == nil {
			t.Fatalf("the other way round: %v, %v", other, err)
		}
		encoded, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeEquivocation(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := back.Verify(); err != nil || c.Entity != key.ID() {
			t.Fatalf("%+v, %v", c, err)
		}
		at := draw.Int(t, "bit", 0, 8*len(encoded)-1)
		encoded[at/8] ^= 1 << (at % 8)
		if e, err = DecodeEquivocation(encoded); err == nil {
			if c, err := e.Verify(); err == nil {
				t.Fatalf("with bit %d changed it proves %+v", at, c)
			}
		}
	})
}

func TestProofsThatProveNothing(t *testing.T) {
	key := equivocationKey(t, 1)
	a := newToldChain(key)
	a.emit("1")
	b := a.fork()
	a.emit("2")
	a.sign(PurposeExport, 1, nil)
	b.emit("two")
	b.sign(PurposeExport, 1, nil)
	good, err := proveTold(a, b)
	if err != nil || good == nil {
		t.Fatal(err)
	}
	other := newToldChain(equivocationKey(t, 2))
	other.emit("x")
	other.sign(PurposeExport, 1, nil)
	stranger := other.items[len(other.items)-1].(Checkpoint)
	for name, c := range map[string]struct {
		change func(*Equivocation)
		want   error
	}{
		"version":             {func(e *Equivocation) { e.Version = 2 }, ErrBadProof},
		"one statement":       {func(e *Equivocation) { e.Statements = e.Statements[:1] }, ErrBadProof},
		"three":               {func(e *Equivocation) { e.Statements = append(e.Statements, e.Statements[0]) }, ErrBadProof},
		"out of order":        {func(e *Equivocation) { e.Statements[0], e.Statements[1] = e.Statements[1], e.Statements[0] }, ErrBadProof},
		"one statement twice": {func(e *Equivocation) { e.Statements[1] = e.Statements[0] }, ErrNoEquivocation},
		"of another":          {func(e *Equivocation) { e.Entity = equivocationKey(t, 2).ID() }, ErrOriginMismatch},
		"another's signature": {func(e *Equivocation) { *e = *reordered(t, e, Statement{Checkpoint: stranger}) }, ErrOriginMismatch},
		"no signature":        {func(e *Equivocation) { *e = *reordered(t, e, unsigned(e.Statements[0])) }, ErrUnsigned},
		"links that end elsewhere": {func(e *Equivocation) {
			s := e.Statements[0]
			s.Links = []StatedLink{a.items[1].(StatedLink)}
			*e = *reordered(t, e, s)
		}, ErrParentMismatch},
		"links of another": {func(e *Equivocation) {
			s := e.Statements[0]
			s.Links = []StatedLink{other.items[1].(StatedLink)}
			*e = *reordered(t, e, s)
		}, ErrOriginMismatch},
		"too many links": {func(e *Equivocation) { e.Statements[0].Links = make([]StatedLink, maxStatedLinks+1) }, ErrBadProof},
	} {
		e := &Equivocation{Version: good.Version, Entity: good.Entity, Statements: append([]Statement(nil), good.Statements...)}
		c.change(e)
		if _, err := e.Verify(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeEquivocation(make([]byte, MaxProof+1)); !errors.Is(err, ErrBadProof) {
		t.Error(err)
	}
}

func unsigned(s Statement) Statement {
	s.Checkpoint.Signature = nil
	return s
}

// reordered puts another first statement into the proof.
func reordered(t testing.TB, e *Equivocation, s Statement) *Equivocation {
	out, err := newEquivocation(e.Entity, s, e.Statements[1])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzDecodeEquivocation(f *testing.F) {
	key := equivocationKey(f, 1)
	a := newToldChain(key)
	b := a.fork()
	a.emit("1")
	a.emit("2")
	a.sign(PurposeExport, 1, nil)
	b.emit("one")
	b.sign(PurposeExport, 1, nil)
	e, err := proveTold(a, b)
	if err != nil {
		f.Fatal(err)
	}
	encoded, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add(encoded[:len(encoded)/2])
	f.Add([]byte{0x83, 0x01, 0x58})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEquivocation(b)
		if err != nil {
			if !errors.Is(err, ErrBadProof) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x, %v", b, again, err)
		}
		if c, err := e.Verify(); err == nil && c.Entity != key.ID() {
			t.Errorf("a forged proof: %+v", c)
		}
	})
}

// The form of a proof is pinned, for files outlive programs.
func TestProofGolden(t *testing.T) {
	a := newToldChain(equivocationKey(t, 1))
	b := a.fork()
	a.emit("1")
	a.emit("2")
	a.sign(PurposeExport, 1, nil)
	b.emit("one")
	b.sign(PurposeExport, 1, nil)
	e, err := proveTold(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := e.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "equivocation.proof")
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(file.Bytes(), want) {
		t.Errorf("%s differs, %v", path, err)
	}
	read, err := ReadEquivocation(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := read.Verify(); err != nil || c.Epoch != 1 || c.Sequence != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range [][]byte{nil, want[1:], want[:len(want)-1], append(want, 0)} {
		if _, err := ReadEquivocation(bytes.NewReader(bad)); !errors.Is(err, ErrBadProof) {
			t.Error(err)
		}
	}
}
