package host

import (
	"fmt"
	"math"
	"slices"

	"wasmhost/host/daemon"
	"wasmhost/identity"
)

// horizon is up to which number each sender's events are applied. It is what
// makes a delivery exactly-once: it is part of the daemon's state, is
// journalled with every event and travels with the daemon.
type horizon struct {
	marks     map[identity.EntityID]senderMark
	forgotten int64 // senders not heard of since have been forgotten, Unix nanoseconds

	counts counts // of marks, by scope
	oldest int64  // no mark is older, Unix nanoseconds; 0: not known
	veiled bool   // the guest does not see the senders of direct events: see veilSender
}

type senderMark struct {
	number uint64
	time   int64 // when its last event was recorded, Unix nanoseconds
}

// seen reports whether the sender's event number was applied before.
func (h *horizon) seen(sender identity.EntityID, number uint64) bool {
	m, ok := h.marks[sender]
	return ok && number <= m.number
}

// knows reports whether the sender has a place.
func (h *horizon) knows(sender identity.EntityID) bool {
	_, ok := h.marks[sender]
	return ok
}

// room returns nil if sender can be remembered. A horizon that is full, or in which
// the sender's scope has its share, first forgets the senders that were silent since
// before. ErrHorizonFull, ErrSenderQuota.
func (h *horizon) room(sender identity.EntityID, limit int, before int64) error {
	if h.knows(sender) {
		return nil
	}
	err := h.roomNow(sender, limit)
	if err == nil || before <= h.oldest {
		return err
	}
	h.forget(before)
	return h.roomNow(sender, limit)
}

func (h *horizon) roomNow(sender identity.EntityID, limit int) error {
	if scope, _ := sender.Scope(); scope != identity.LaneScope && h.senders()-h.counts.lanes() >= limit {
		return fmt.Errorf("%w: %d", daemon.ErrHorizonFull, limit)
	}
	return h.counts.room(sender, limit)
}

// senders is how many senders are remembered.
func (h *horizon) senders() int {
	if h.veiled {
		return len(h.marks) - 1
	}
	return len(h.marks)
}

func (h *horizon) forget(before int64) {
	h.forgotten = max(h.forgotten, before)
	h.oldest = math.MaxInt64
	for s, m := range h.marks {
		if m.time < before {
			delete(h.marks, s)
			h.counts.add(s, -1)
			continue
		}
		h.oldest = min(h.oldest, m.time)
	}
}

// merge applies what since told, and what was forgotten by then.
func (h *horizon) merge(forgotten int64, marks []SenderMark) {
	h.forget(forgotten)
	for _, m := range marks {
		h.advance(m.Sender, m.Number, m.Time)
	}
}

// advance records that the sender's event number is applied; a mark never goes
// back. Anonymous events leave none.
func (h *horizon) advance(sender identity.EntityID, number uint64, at int64) {
	if sender.IsZero() {
		return
	}
	if h.marks == nil {
		h.marks = make(map[identity.EntityID]senderMark)
	}
	old, known := h.marks[sender]
	if !known {
		h.counts.add(sender, 1)
		h.veiled = h.veiled || sender == veilSender
	}
	mark := senderMark{number: max(number, old.number), time: max(at, h.forgotten)}
	h.oldest = min(h.oldest, mark.time)
	h.marks[sender] = mark
}

// list returns the marks, sorted by sender.
func (h *horizon) list() []SenderMark { return h.since(math.MinInt64) }

// since is list for the senders that were heard of at that time or later.
func (h *horizon) since(time int64) []SenderMark {
	out := make([]SenderMark, 0, len(h.marks))
	for s, m := range h.marks {
		if m.time >= time {
			out = append(out, SenderMark{Sender: s, Number: m.number, Time: m.time})
		}
	}
	slices.SortFunc(out, func(a, b SenderMark) int { return a.Sender.Compare(b.Sender) })
	return out
}

func newHorizon(marks []SenderMark) horizon {
	var h horizon
	for _, m := range marks {
		h.advance(m.Sender, m.Number, m.Time)
	}
	return h
}

// number returns up to which number the sender's events are applied.
func (h *horizon) number(sender identity.EntityID) uint64 { return h.marks[sender].number }

// size is how many marks there are, that of veil included.
func (h *horizon) size() int { return len(h.marks) }

// forgottenBefore returns since when senders that were silent have been forgotten, Unix
// nanoseconds.
func (h *horizon) forgottenBefore() int64 { return h.forgotten }

// isVeiled reports whether the guest sees no senders of direct events: see veil.
func (h *horizon) isVeiled() bool { return h.veiled }
