package snapshot

import (
	"fmt"
	"math"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// DedupTable is up to which number each sender's events are applied. It is what
// makes a delivery exactly-once: it is part of the daemon's state, is
// journalled with every event and travels with the daemon.
type DedupTable struct {
	marks     map[identity.EntityID]senderMark
	forgotten int64 // senders not heard of since have been forgotten, Unix nanoseconds

	counts places // of marks, by scope
	oldest int64  // no mark is older, Unix nanoseconds; 0: not known
	veiled bool   // the guest does not see the senders of direct events: see VeilSender
}

type senderMark struct {
	number uint64
	time   int64 // when its last event was recorded, Unix nanoseconds
}

// Seen reports whether the sender's event number was applied before.
func (t *DedupTable) Seen(sender identity.EntityID, number uint64) bool {
	m, ok := t.marks[sender]
	return ok && number <= m.number
}

// Knows reports whether the sender has a place.
func (t *DedupTable) Knows(sender identity.EntityID) bool {
	_, ok := t.marks[sender]
	return ok
}

// Room returns nil if sender can be remembered. A table that is full, or in which
// the sender's scope has its share, first forgets the senders that were silent since
// before. ErrHorizonFull, ErrSenderQuota.
func (t *DedupTable) Room(sender identity.EntityID, limit int, before int64) error {
	if t.Knows(sender) {
		return nil
	}

	err := t.roomNow(sender, limit)
	if err == nil || before <= t.oldest {
		return err
	}

	t.forget(before)
	return t.roomNow(sender, limit)
}

func (t *DedupTable) roomNow(sender identity.EntityID, limit int) error {
	if scope, _ := sender.Scope(); scope != identity.LaneScope && t.Senders()-t.counts.lanes() >= limit {
		return fmt.Errorf("%w: %d", daemon.ErrHorizonFull, limit)
	}
	return t.counts.room(sender, limit)
}

// Senders returns how many senders are remembered.
func (t *DedupTable) Senders() int {
	if t.veiled {
		return len(t.marks) - 1
	}
	return len(t.marks)
}

func (t *DedupTable) forget(before int64) {
	t.forgotten = max(t.forgotten, before)
	t.oldest = math.MaxInt64
	for s, m := range t.marks {
		if m.time < before {
			delete(t.marks, s)
			t.counts.add(s, -1)
			continue
		}
		t.oldest = min(t.oldest, m.time)
	}
}

// Merge applies what Since told, and what was forgotten by then.
func (t *DedupTable) Merge(forgotten int64, marks []SenderMark) {
	t.forget(forgotten)
	for _, m := range marks {
		t.Advance(m.Sender, m.Number, m.Time)
	}
}

// Advance records that the sender's event number is applied; a mark never goes
// back. Anonymous events leave none.
func (t *DedupTable) Advance(sender identity.EntityID, number uint64, at int64) {
	if sender.IsZero() {
		return
	}
	if t.marks == nil {
		t.marks = make(map[identity.EntityID]senderMark)
	}

	old, known := t.marks[sender]
	if !known {
		t.counts.add(sender, 1)
		t.veiled = t.veiled || sender == VeilSender
	}

	mark := senderMark{number: max(number, old.number), time: max(at, t.forgotten)}
	t.oldest = min(t.oldest, mark.time)
	t.marks[sender] = mark
}

// List returns the marks, sorted by sender.
func (t *DedupTable) List() []SenderMark { return t.Since(math.MinInt64) }

// Since is List for the senders that were heard of at that time or later.
func (t *DedupTable) Since(time int64) []SenderMark {
	out := make([]SenderMark, 0, len(t.marks))
	for s, m := range t.marks {
		if m.time >= time {
			out = append(out, SenderMark{Sender: s, Number: m.number, Time: m.time})
		}
	}
	slices.SortFunc(out, func(a, b SenderMark) int { return a.Sender.Compare(b.Sender) })
	return out
}

// NewDedupTable returns the table that the marks are of.
func NewDedupTable(marks []SenderMark) DedupTable {
	var t DedupTable
	for _, m := range marks {
		t.Advance(m.Sender, m.Number, m.Time)
	}
	return t
}

// Number returns up to which number the sender's events are applied.
func (t *DedupTable) Number(sender identity.EntityID) uint64 { return t.marks[sender].number }

// Forgotten returns since when senders that were silent have been forgotten, Unix
// nanoseconds.
func (t *DedupTable) Forgotten() int64 { return t.forgotten }

// Veiled reports whether the guest sees no senders of direct events: see Veil.
func (t *DedupTable) Veiled() bool { return t.veiled }

// VeilSender is no sender's id.
var VeilSender = identity.NamedSender("\x00wasmhost: the guest sees no senders of direct events")

// Veil marks the table. The mark is never forgotten.
func (t *DedupTable) Veil() { t.Advance(VeilSender, 1, math.MaxInt64) }

// SendersOf returns how many senders the marks are of.
func SendersOf(marks []SenderMark) int {
	n := len(marks)
	for i := range marks {
		if marks[i].Sender == VeilSender {
			n--
		}
	}
	return n
}
