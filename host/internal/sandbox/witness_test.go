package sandbox

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wasmhost.example/abi"
)

// witness is a module that keeps a digest of all that it was ever told: of each
// event the sender, channel, sequence, time, origin, randomness and payload. It
// answers with the digest, and fails where the payload is empty.
func witness() []byte {
	const (
		told, digest = 0x8000, 0x8200
		ptr, size    = 0, 1 // parameters of process
		h, k         = 2, 3 // locals
	)
	m := &assembly{}
	none, oneOne, twoOne := m.typ("", ""), m.typ("i", "i"), m.typ("ii", "i")
	oneNone, twoNone, noneI64 := m.typ("i", ""), m.typ("ii", ""), m.typ("", "I")
	emit, sender := m.imported(abi.ImportEmit, twoNone), m.imported(abi.ImportEventSender, oneNone)
	channel, random := m.imported(abi.ImportEventChannel, twoOne), m.imported(abi.ImportRandom, twoNone)
	sequence, time, origin := m.imported(abi.ImportEventSequence, noneI64), m.imported(abi.ImportEventTime, noneI64), m.imported(abi.ImportEventOrigin, noneI64)
	m.add(5, cat(0, 2)...)
	marker := m.fn(none, leb(0))
	alloc := m.fn(oneOne, leb(0), i32(0x10000))
	process := m.fn(twoOne, cat(2, 1, 0x7e, 1, 0x7f),
		i32(told), i64(0), mem(0x37, 32), i32(told), i64(0), mem(0x37, 40),
		i32(told), invoke(sender), i32(told+32), i32(16), invoke(channel), 0x1a, i32(told+48), i32(8), invoke(random),
		i32(told), invoke(sequence), mem(0x37, 56), i32(told), invoke(time), mem(0x37, 64), i32(told), invoke(origin), mem(0x37, 72),
		i32(told), get(ptr), mem(0x31, 0), mem(0x37, 80), // i64.load8_u
		i32(digest), mem(0x29, 0), put(h),
		0x03, 0x40, // loop: h = (h ^ told[k]) * constant, for k from 0 to 80
		get(h), get(k), mem(0x29, told), 0x85, i64(6364136223846793005), 0x7e, put(h),
		get(k), i32(8), 0x6a, 0x22, k, i32(80), 0x4d, 0x0d, 0, 0x0b,
		i32(digest), get(h), mem(0x37, 0),
		i32(digest), i32(8), invoke(emit),
		get(size), 0x45)
	m.export(abi.ExportMemory, 2, 0)
	m.export(abi.ExportMarker, 0, marker)
	m.export(abi.ExportAlloc, 0, alloc)
	m.export(abi.ExportProcess, 0, process)
	return m.bytes()
}

// Calls that are made again are told what they were told: whoever sent them, by
// whatever channel, under whatever epoch, with gaps in the sequence or without.
func TestReplayTellsWhatTheCallsWereTold(t *testing.T) {
	m, err := engineOf(t, Config{CacheDir: compiled}).Compile(ctx, witness(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	guest := func() *Guest {
		g, err := m.NewGuest(Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
		return g
	}
	undone, alone := guest(), guest()
	r := rand.New(rand.NewPCG(10, 11))
	ev := Event{Sequence: 1, Epoch: 1, Time: at.Time}
	replayed := 0
	for n := range 20_000 {
		ev.Sequence++
		ev.Time += r.Int64N(3)
		if r.IntN(3) == 0 { // otherwise it is like the one before
			ev.Sender = [32]byte{}
			ev.Sender[r.IntN(4)*8+7] = byte(r.IntN(3))
			ev.Origin, ev.Channel, ev.Epoch = uint64(ev.Sender[7]), []string{"", "a", "b"}[r.IntN(3)], ev.Epoch+r.Uint64N(2)
			ev.Sequence += r.Uint64N(2)
		}
		if r.IntN(50) == 0 {
			replayed += undone.undo.calls
			if _, err := undone.Process(&ev, nil); err == nil {
				t.Fatal("an empty event did not fail")
			}
		}
		payload := []byte{byte(n), 1, 2, 3}[:1+r.IntN(3)]
		a, err := undone.Process(&ev, payload)
		if err != nil {
			t.Fatal(err)
		}
		b, err := alone.Process(&ev, payload)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%x", a), fmt.Sprintf("%x", b); got != want {
			t.Fatalf("event %d: %s, and where nothing was undone %s", n, got, want)
		}
	}
	if replayed < 1000 {
		t.Errorf("%d calls were made again: it says nothing", replayed)
	}
}
