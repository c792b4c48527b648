package migration

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	"wasmhost.example/identity"
)

// What users see of a migration: the phases, and what leads from one to the next.
var shown = map[row]Phase{
	{Snapshot, Captured, Source}: Transfer, {Transfer, Received, Target}: Restore, {Restore, Restored, Target}: Replay,
	{Replay, Released, Source}: Cutover, {Cutover, Activated, Target}: Complete,
	{Snapshot, Failed, Source}: Aborted, {Snapshot, Failed, Target}: Aborted, {Transfer, Failed, Source}: Aborted,
	{Transfer, Failed, Target}: Aborted, {Restore, Failed, Source}: Aborted, {Restore, Failed, Target}: Aborted,
	{Replay, Failed, Source}: Aborted,
}

// The whole machine of the source, every combination of phase, signal and role: what has
// no row is refused and changes nothing; what has one is a step that users see, or stays
// within the phase that they see.
func TestM31_M32_M46_M48_F32_F34_Transitions(t *testing.T) {
	within := map[row]Phase{
		{Replay, Agreed, Source}: Releasing, {Releasing, Unsure, Source}: InDoubt,
		{Cutover, Confirmed, Target}: Settling, {Cutover, Overruled, Operator}: TakenBack, {Snapshot, Again, Source}: Snapshot,
	}
	again := map[row]Phase{
		{Transfer, Again, Source}: Snapshot, {Restore, Again, Source}: Snapshot,
		{Replay, Again, Source}: Snapshot, {Releasing, Again, Source}: Snapshot,
	}
	rows := make(map[row]Phase)
	for p := Snapshot; p <= Claimed; p++ {
		for s := Captured; s <= Overruled; s++ {
			for by := Source; by <= Orchestrator; by++ {
				if to, ok := shown[row{p.Shown(), s, by}]; ok && tells(p, s) {
					rows[row{p, s, by}] = to
				}
			}
		}
	}
	maps.Copy(rows, within)
	maps.Copy(rows, again)
	checkTable(t, Source, rows)
	for r, to := range within {
		if to.Shown() != r.from.Shown() {
			t.Errorf("%v leads to %s, which users see as %s", r, to, to.Shown())
		}
	}
}

// tells reports whether, of the phases of the source that users see as one, p is the one
// that takes the signal which ends it.
func tells(p Phase, s Signal) bool {
	switch p {
	case Snapshot, Transfer, Restore:
		return true
	case Replay:
		return s == Failed
	case Releasing:
		return true
	case InDoubt:
		return s == Released
	case Settling:
		return s == Activated
	}
	return false
}

// The whole machine of the target.
func TestTargetTransitions(t *testing.T) {
	rows := map[row]Phase{
		{Transfer, Received, Target}: Restore, {Restore, Restored, Target}: Replay, {Replay, Agreed, Target}: Pending,
		{Pending, Released, Source}: Complete, {Pending, Overruled, Operator}: Claimed,
		{Transfer, Cut, Target}: Parked, {Parked, Resumed, Source}: Transfer,
		{Pending, Failed, Source}: Aborted, {Pending, Failed, Operator}: Aborted,
	}
	for _, p := range []Phase{Transfer, Parked, Restore, Replay} {
		rows[row{p, Failed, Source}], rows[row{p, Failed, Target}] = Aborted, Aborted
	}
	checkTable(t, Target, rows)
}

// checkTable compares a side's machine with rows, in every combination.
func checkTable(t *testing.T, side Role, rows map[row]Phase) {
	t.Helper()
	for p := Phase(0); p <= Claimed+1; p++ {
		for s := Signal(0); s <= Overruled+1; s++ {
			for by := Role(0); by <= Orchestrator; by++ {
				got, err := Next(side, p, s, by)
				want, ok := rows[row{p, s, by}]
				if ok && (err != nil || got != want) {
					t.Errorf("%s: %s %s by the %s leads to %s, %v, want %s", side, p, s, by, got, err, want)
				}
				var wrong *WrongPhaseError
				if !ok && (got != p || !errors.As(err, &wrong) || *wrong != WrongPhaseError{side, p, s, by}) {
					t.Errorf("%s: %s %s by the %s leads to %s, %v, want a refusal", side, p, s, by, got, err)
				}
			}
		}
	}
}

// Whatever the two sides are told, in whatever order, at most one of them serves.
func TestM30_OwnerChangesAtCutoverAlone(t *testing.T) {
	for p := Snapshot; p <= Aborted; p++ {
		want := OwnerSource
		if p == Cutover || p == Complete {
			want = OwnerTarget
		}
		if p.Owner() != want || p.Terminal() != (p == Complete || p == Aborted) || p.Shown() != p {
			t.Errorf("%s: owner %d, terminal %v, shown as %s", p, p.Owner(), p.Terminal(), p.Shown())
		}
	}
	for p, want := range map[Phase]Owner{Releasing: OwnerSource, InDoubt: OwnerNone, Settling: OwnerTarget, TakenBack: OwnerSource,
		Parked: OwnerSource, Pending: OwnerNone, Claimed: OwnerTarget} {
		if p.Owner() != want || p.Shown() > Aborted {
			t.Errorf("%s: owner %d, want %d; shown as %s", p, p.Owner(), want, p.Shown())
		}
	}
}

// A machine stands where its signals led it; the source's phases are what an
// orchestrator hears, and no others.
func TestMachine(t *testing.T) {
	m := NewTarget()
	for _, s := range []Signal{Received, Restored, Agreed} {
		if err := m.Signal(s, Target); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Signal(Failed, Target); err == nil || m.Phase() != Pending {
		t.Errorf("a target gave up what is pending: %v, in phase %s", err, m.Phase())
	}
	o := NewOrchestrator()
	if err := o.Signal(Captured, Source); err == nil {
		t.Error("an orchestrator took a signal")
	}
	for _, p := range []Phase{0, Releasing, Claimed, 200} {
		if err := o.Hear(p); err == nil || o.Phase() != Snapshot {
			t.Errorf("an orchestrator heard of phase %s: %v", p, err)
		}
	}
	if err := o.Hear(Cutover); err != nil || o.Phase() != Cutover {
		t.Errorf("hearing of a cutover: %v, in phase %s", err, o.Phase())
	}
	if err := m.Hear(Cutover); err == nil || m.Phase() != Pending {
		t.Error("a target took a phase that it was told")
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
		&BareOffer{Offer: Offer{Version: Version, Entity: identity.EntityID{1}, Name: "n", Kind: "k", Epoch: 2}, PublicOnly: true}, &Holds{Signature: make([]byte, 64)},
		&Order{Version: 1, Entity: identity.EntityID{1}, Target: 7, OmitIdentity: true, RetryNotReady: 30e9}, &Step{Phase: Transfer},
		&Outcome{Epoch: 2, Bytes: 9, Downtime: 1e6, Took: []Span{{Phase: Snapshot, Took: 3}}},
		&Bound{Unbound: []Unbound{{Publisher: 7, Channel: "a/b", Code: 16, Text: "expired"}}}, &Bound{},
		&Outcome{Failures: []Failure{{Code: NotReadyTimeout, Text: "why", Attempts: 3}}},
		&Blocks{Index: make([]byte, 4), Bytes: make([]byte, BlockBytes)}, &Blocks{Index: make([]byte, 8), Bytes: Pack(nil, make([]byte, 2*BlockBytes)), S2: true},
		&Memory{State: []byte("s"), Last: true}, &Caught{},
	}
}

func TestM130_M131_F57_Codec(t *testing.T) {
	kinds := make(map[uint8]string)
	for _, m := range messages() {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if t0, ok := kinds[b[0]]; ok && t0 != fmt.Sprintf("%T", m) {
			t.Errorf("%T shares its kind with %s", m, t0)
		}
		kinds[b[0]] = fmt.Sprintf("%T", m)
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

func TestM132_M133_M140_F72_F79_DecodeChecksContent(t *testing.T) {
	head := make([]byte, 32)
	for name, m := range map[string]Message{
		"bare with an identity": &BareOffer{Offer: Offer{Epoch: 1, Identity: true}}, "bare at epoch 0": &BareOffer{}, "half a signature": &Holds{Signature: make([]byte, 32)},
		"a long name of a limit": &Offer{Epoch: 1, Limits: map[string]int64{strings.Repeat("x", 65): 1}}, "a long checkpoint": &Release{Epoch: 2, Head: head, Checkpoint: make([]byte, 4097)},
		"digest of 31 bytes": &Offer{Module: head[:31], Epoch: 1}, "epoch 0": &Offer{}, "last epoch": &Offer{Epoch: ^uint64(0)},
		"long name":   &Offer{Name: strings.Repeat("n", 256), Epoch: 1},
		"M133 reason": &Refuse{Code: 0xffff}, "M132 text": &Refuse{Text: strings.Repeat("x", MaxText+1)},
		"M140 chunk": &SnapshotChunk{Bytes: make([]byte, MaxChunk+1)}, "M140 no bytes": &SnapshotChunk{Last: true},
		"M140 module chunk": &ModuleChunk{Bytes: make([]byte, MaxChunk+1)}, "M140 no module": &ModuleChunk{},
		"no records": &HistoryBatch{}, "no tail": &Tail{From: 3, More: true}, "retry": &Order{RetryNotReady: uint64(MaxRetryNotReady) + 1},
		"step at the end": &Step{Phase: Complete}, "no step": &Step{}, "step beyond": &Step{Phase: Aborted + 1},
		"a channel's name": &Bound{Unbound: []Unbound{{Channel: "../a"}}}, "many subscriptions": &Bound{Unbound: make([]Unbound, MaxUnbound+1)},
		"a long reason": &Bound{Unbound: []Unbound{{Channel: "a", Text: strings.Repeat("x", MaxText+1)}}}, "unbound outcome": &Outcome{Epoch: 2, Unbound: []Unbound{{}}},
		"no outcome": &Outcome{}, "two outcomes": &Outcome{Epoch: 2, Failures: []Failure{{}}}, "two failures": &Outcome{Failures: []Failure{{}, {}}},
		"reason of a failure": &Outcome{Failures: []Failure{{Code: 0xffff}}}, "text of a failure": &Outcome{Failures: []Failure{{Text: strings.Repeat("x", MaxText+1)}}},
		"attempts": &Outcome{Failures: []Failure{{Attempts: 1 << 40}}}, "long downtime": &Outcome{Epoch: 2, Downtime: 1 << 63}, "many bytes": &Outcome{Epoch: 2, Bytes: 1 << 63},
		"phases": &Outcome{Epoch: 2, Took: make([]Span, 8)}, "no phase": &Outcome{Epoch: 2, Took: make([]Span, 1)}, "head": &Ready{Head: head[:5]}, "root": &Ready{Head: head, Root: head[:5]},
		"no blocks": &Blocks{}, "half an index": &Blocks{Index: make([]byte, 3)}, "too many blocks": &Blocks{Index: make([]byte, 4*MaxBlocks+4), S2: true},
		"a block too short":      &Blocks{Index: make([]byte, 4), Bytes: make([]byte, 9)},
		"packed blocks too long": &Blocks{Index: make([]byte, 4), S2: true, Bytes: make([]byte, MaxBlocks*BlockBytes+1)}, "release to epoch 1": &Release{Epoch: 1, Head: head},
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

// A count that the bytes after it do not bear out is refused before anything is
// made room for.
func TestM134_M135_F77_F78_Counts(t *testing.T) {
	for name, b := range map[string][]byte{
		"4,294,967,295 records and no bytes": {5, 0x82, 0x00, 0x9a, 0xff, 0xff, 0xff, 0xff},
		"2^64-1 records":                     {5, 0x82, 0x00, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"2,000,000 records and padding":      append([]byte{8, 0x85, 0x00, 0x9a, 0x00, 0x1e, 0x84, 0x80}, make([]byte, 1<<20)...),
		"a record of 2^64-1 bytes":           {8, 0x85, 0x00, 0x81, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf4, 0xf4, 0xf5},
		"a record of 2^63-1 bytes":           {8, 0x85, 0x00, 0x81, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf4, 0xf4, 0xf5},
		"a chunk of 4 GiB":                   {6, 0x82, 0x5a, 0xff, 0xff, 0xff, 0xff, 0xf5},
		"no records where some must be":      {5, 0x82, 0x00, 0x80},
		"a message over the limit":           append([]byte{6}, make([]byte, MaxMessage)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(b)
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrBadMessage) || allocated > 64<<10 {
			t.Errorf("%s: %v, %d bytes allocated", name, err, allocated)
		}
	}
	if m, err := Decode([]byte{8, 0x85, 0x00, 0x80, 0xf4, 0xf4, 0xf5}); err != nil || len(m.(*Tail).Records) != 0 { // none, and the last
		t.Errorf("%+v, %v", m, err)
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
