package migration

import (
	"errors"
	"strings"
	"testing"

	"wasmhost/identity"
)

// The whole machine, every combination of phase, signal and side: what has no
// row is refused and changes nothing.
func TestTransitions(t *testing.T) {
	rows := map[row]Phase{
		{Snapshot, Captured, Source}: Transfer, {Transfer, Received, Target}: Restore, {Restore, Restored, Target}: Replay,
		{Replay, Released, Source}: Cutover, {Cutover, Activated, Target}: Complete,
		{Snapshot, Failed, Source}: Aborted, {Snapshot, Failed, Target}: Aborted, {Transfer, Failed, Source}: Aborted,
		{Transfer, Failed, Target}: Aborted, {Restore, Failed, Source}: Aborted, {Restore, Failed, Target}: Aborted,
		{Replay, Failed, Source}: Aborted,
	}
	for p := Snapshot; p <= Aborted; p++ {
		for s := Captured; s <= Failed; s++ {
			for _, by := range []Role{Source, Target} {
				got, err := Next(p, s, by)
				want, ok := rows[row{p, s, by}]
				if ok && (err != nil || got != want) {
					t.Errorf("%s %s %s: %s, %v", p, s, by, got, err)
				}
				var wrong *WrongPhaseError
				if !ok && (got != p || !errors.As(err, &wrong) || wrong.Phase != p || wrong.Signal != s || wrong.By != by) {
					t.Errorf("%s %s %s: %s, %v", p, s, by, got, err)
				}
			}
		}
	}
}

func TestOwnerChangesAtCutoverAlone(t *testing.T) {
	for p := Snapshot; p <= Aborted; p++ {
		want := OwnerSource
		if p == Cutover || p == Complete {
			want = OwnerTarget
		}
		if p.Owner() != want || p.Terminal() != (p == Complete || p == Aborted) {
			t.Errorf("%s: owner %d, terminal %v", p, p.Owner(), p.Terminal())
		}
	}
}

func TestM34_M35_M36_Codes(t *testing.T) {
	seen := make(map[string]bool)
	for c := NotReady; c.Valid(); c++ {
		if c.Retriable() != (c == NotReady) {
			t.Errorf("%s: retriable %v", c, c.Retriable())
		}
		if seen[c.String()] || strings.Contains(c.String(), "(") {
			t.Errorf("code %d has no name of its own: %s", c, c)
		}
		seen[c.String()] = true
	}
	for i, want := range []string{"not-ready", "factory-not-found", "compute-not-supported", "state-failed", "already-migrating", "identity-transport-failed", "not-ready-timeout"} {
		if Code(i).String() != want {
			t.Errorf("code %d is %s, want %s", i, Code(i), want)
		}
	}
	err := error(&Error{Code: NotReadyTimeout, Text: "x", Attempts: 3})
	if !strings.Contains(err.Error(), "3 attempts") || !errors.Is(err, &Error{Code: NotReadyTimeout}) || errors.Is(err, &Error{Code: NotReady}) {
		t.Error(err)
	}
}

func messages() []Message {
	head := make([]byte, 32)
	return []Message{
		&Offer{Version: 1, Entity: identity.EntityID{1}, Name: "n", Kind: "k", Module: head, ModuleSize: 9, Epoch: 1, Identity: true, History: 7},
		&Accept{NeedModule: true}, &Refuse{Code: StateFailed, Text: "why"}, &ModuleChunk{Bytes: []byte("m")},
		&HistoryBatch{From: 3, Records: [][]byte{{1}, {2, 3}}}, &SnapshotChunk{Bytes: []byte("s"), Last: true},
		&Ready{Sequence: 5, Head: head}, &Tail{From: 7, Records: [][]byte{{4}}, Last: true}, &Prepared{Sequence: 6, Applied: 8, Head: head},
		&Release{Entity: identity.EntityID{1}, Epoch: 2, Sequence: 6, Head: head, Checkpoint: []byte("c"), Envelope: []byte("e")},
		&Done{Epoch: 2}, &Ask{Entity: identity.EntityID{1}}, &Hold{}, &Arrived{},
	}
}

func TestM130_M131_Codec(t *testing.T) {
	kinds := make(map[uint8]bool)
	for _, m := range messages() {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if kinds[b[0]] {
			t.Errorf("%T shares its kind", m)
		}
		kinds[b[0]] = true
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		again, err := Encode(nil, got)
		if err != nil || string(again) != string(b) {
			t.Errorf("%T came back as %x, %v", m, again, err)
		}
		for n := range b {
			if _, err := Decode(b[:n]); !errors.Is(err, ErrBadMessage) {
				t.Errorf("%T cut to %d bytes: %v", m, n, err)
			}
		}
		if _, err := Decode(append(b, 0)); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%T with a byte more: %v", m, err)
		}
	}
	if _, err := Decode([]byte{255, 0x80}); !errors.Is(err, ErrBadMessage) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestDecodeChecksContent(t *testing.T) {
	head := make([]byte, 32)
	for name, m := range map[string]Message{
		"digest of 31 bytes": &Offer{Module: head[:31], Epoch: 1}, "epoch 0": &Offer{}, "last epoch": &Offer{Epoch: ^uint64(0)},
		"long name":   &Offer{Name: strings.Repeat("n", 256), Epoch: 1},
		"M133 reason": &Refuse{Code: 0xffff}, "M132 text": &Refuse{Text: strings.Repeat("x", MaxText+1)},
		"chunk": &SnapshotChunk{Bytes: make([]byte, MaxChunk+1)}, "head": &Ready{Head: head[:5]}, "release to epoch 1": &Release{Epoch: 1, Head: head},
	} {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefuseTextIsCutAtACharacter(t *testing.T) {
	r := NewRefuse(&Error{Code: Denied, Text: strings.Repeat("x", MaxText-1) + "€"})
	if r.check() != nil || strings.TrimRight(r.Text, "x") != "" || len(r.Text) != MaxText-1 {
		t.Errorf("%d bytes", len(r.Text))
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		b, err := Encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x02\xf6"))                                 // null for an Accept
	f.Add([]byte("\x05\x82\x03\x82\x82\x01\x01\x42\x30\x30")) // an array of numbers for bytes
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(nil, m)
		if err != nil || string(again) != string(b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
	})
}
