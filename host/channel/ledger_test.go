package channel

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/identity"
)

func key(t testing.TB, n byte) *identity.KeyPair {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = n
	k, err := identity.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func binding(publisher identity.NodeID, name string, token string) Binding {
	return Binding{Publisher: publisher, Channel: name, Token: []byte(token), Source: SourceOf(publisher, [16]byte{1}, name), Cursor: 7}
}

func ledgerOf(t testing.TB, list ...Binding) *Ledger {
	t.Helper()
	l := &Ledger{}
	for _, b := range list {
		if err := l.Record(b); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestC08_RecordAndForget(t *testing.T) {
	l := &Ledger{}
	for i, step := range []struct {
		do   func() error
		want int
	}{
		{func() error { return l.Record(binding(1, "c", "one")) }, 1},
		{func() error { return l.Record(binding(2, "c2", "")) }, 2},
		{func() error { return l.Record(binding(1, "c", "two")) }, 2},
		{func() error { l.Forget(1, "c"); return nil }, 1},
		{func() error { l.Forget(1, "c"); return nil }, 1},
	} {
		if err := step.do(); err != nil || l.Len() != step.want {
			t.Errorf("step %d: %v, %d bindings", i, err, l.Len())
		}
	}
	if b := l.Get(2, "c2"); b == nil || l.Get(2, "c") != nil || l.From(b.Source) != b || l.From(identity.EntityID{}) != nil {
		t.Errorf("it finds %v", b)
	}
	for i := range MaxBindings - 1 {
		if err := l.Record(binding(3, fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Record(binding(4, "one-more", "")); !errors.Is(err, ErrLedgerFull) {
		t.Errorf("one more: %v", err)
	}
}

func TestC07_C10_C11_EncodedLedger(t *testing.T) {
	l := ledgerOf(t, binding(2, "b", ""), binding(1, "z", "token"), binding(1, "a/b", ""))
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLedger(b)
	if err != nil || fmt.Sprint(got.All()) != fmt.Sprint(l.All()) {
		t.Errorf("%v: %v, not %v", err, got.All(), l.All())
	}
	if empty, err := (&Ledger{}).Encode(); err != nil || len(empty) != 0 {
		t.Errorf("an empty one takes %d bytes: %v", len(empty), err)
	}
	if got, err := DecodeLedger(nil); err != nil || got.Len() != 0 {
		t.Errorf("no bytes: %v", err)
	}
}

func TestC12_to_C16_DamagedLedgers(t *testing.T) {
	good, err := ledgerOf(t, binding(1, "a", "t"), binding(2, "b", "")).Encode()
	if err != nil {
		t.Fatal(err)
	}
	raw := func(list []Binding) []byte {
		b, err := (&Ledger{list}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cases := map[string][]byte{
		"a byte more":           append(bytes.Clone(good), 0),
		"two bytes":             good[:2],
		"another form of token": bytes.Replace(good, []byte{0x41, 't'}, []byte{0x61, 't'}, 1),
		"a count of 2^32-1":     {0x9a, 0xff, 0xff, 0xff, 0xff},
		"a count of 2^64-1":     {0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a million in 256":      append([]byte{0x9a, 0, 0x0f, 0x42, 0x40}, make([]byte, 256)...),
		"no bindings":           {0x80},
		"a path":                raw([]Binding{binding(1, "../etc", "")}),
		"out of order":          raw([]Binding{binding(2, "b", ""), binding(1, "a", "")}),
		"twice":                 raw([]Binding{binding(1, "a", ""), binding(1, "a", "")}),
		"a long token":          raw([]Binding{binding(1, "a", string(make([]byte, MaxTokenBytes+1)))}),
		"no source":             raw([]Binding{{Publisher: 1, Channel: "a"}}),
		"a cursor beyond reach": raw([]Binding{{Publisher: 1, Channel: "a", Source: identity.EntityID{1}, Cursor: 1 << 62}}),
		"junk":                  []byte("junk"),
	}
	for name, b := range cases {
		if l, err := DecodeLedger(b); !errors.Is(err, ErrBadLedger) || l.Len() != 0 {
			t.Errorf("%s: %v, %d bindings", name, err, l.Len())
		}
	}
	for i := 1; i < len(good); i++ {
		if _, err := DecodeLedger(good[:i]); !errors.Is(err, ErrBadLedger) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestC39_ASourceIsStableAndItsOwn(t *testing.T) {
	a := SourceOf(1, [16]byte{1}, "a")
	if a != SourceOf(1, [16]byte{1}, "a") {
		t.Error("it changes")
	}
	others := []identity.EntityID{SourceOf(2, [16]byte{1}, "a"), SourceOf(1, [16]byte{2}, "a"), SourceOf(1, [16]byte{1}, "b"), OutputsSource(a), identity.NamedSender("a")}
	for i, o := range others {
		if o == a {
			t.Errorf("other %d is the same", i)
		}
	}
	daemon := key(t, 1).ID()
	if o, ok := IsOutputs(OutputsOf(daemon.Origin())); !ok || o != daemon.Origin() || identity.ValidChannel(OutputsOf(daemon.Origin())) != nil {
		t.Errorf("outputs are on %q", OutputsOf(daemon.Origin()))
	}
	for name, want := range map[string]bool{"out": true, "out/x": true, "outer": false, "a/out": false} {
		if _, ok := IsOutputs(name); ok != want {
			t.Errorf("%q is an outputs' channel: %v", name, ok)
		}
	}
}

func TestResidence(t *testing.T) {
	daemon, other := key(t, 1), key(t, 2)
	r, err := NewResidence(daemon, 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	if epoch, err := CheckResidence(r, daemon.ID(), 5); err != nil || epoch != 3 {
		t.Errorf("epoch %d: %v", epoch, err)
	}
	forged, err := NewResidence(other, 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	forged = bytes.Replace(forged, bytesOf(other), bytesOf(daemon), 1)
	for name, c := range map[string]struct {
		b      []byte
		entity identity.EntityID
		node   identity.NodeID
	}{
		"another node": {r, daemon.ID(), 6}, "another daemon": {r, other.ID(), 5}, "forged": {forged, daemon.ID(), 5},
		"none": {nil, daemon.ID(), 5}, "cut": {r[:40], daemon.ID(), 5}, "a byte more": {append(bytes.Clone(r), 0), daemon.ID(), 5},
		"long": {make([]byte, maxResident+1), daemon.ID(), 5},
	} {
		if _, err := CheckResidence(c.b, c.entity, c.node); !errors.Is(err, ErrResidence) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewResidence(identity.PublicOnly(daemon.ID()), 5, 3); !errors.Is(err, identity.ErrReadOnly) {
		t.Errorf("without a key: %v", err)
	}
}

func bytesOf(k *identity.KeyPair) []byte {
	id := k.ID()
	return id[:]
}

func FuzzDecodeLedger(f *testing.F) {
	b, err := ledgerOf(f, binding(1, "a", "t"), binding(2, "b/c", "")).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLedger(b)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x: %v", b, again, err)
		}
	})
}
