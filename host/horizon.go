package host

import (
	"fmt"
	"math"
	"slices"

	"wasmhost/identity"
)

// horizon is up to which number each sender's events are applied. It is what
// makes a delivery exactly-once: it is part of the daemon's state, is
// journalled with every event and travels with the daemon.
type horizon struct {
	marks     map[identity.EntityID]senderMark
	forgotten int64 // senders not heard of since have been forgotten, Unix nanoseconds
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

// room makes sure that sender can be remembered: where the horizon is full it
// forgets the senders that were silent since before.
func (h *horizon) room(sender identity.EntityID, limit int, before int64) error {
	if _, ok := h.marks[sender]; ok || len(h.marks) < limit {
		return nil
	}
	h.forget(before)
	if len(h.marks) >= limit {
		return fmt.Errorf("%w: %d", ErrHorizonFull, limit)
	}
	return nil
}

func (h *horizon) forget(before int64) {
	h.forgotten = max(h.forgotten, before)
	for s, m := range h.marks {
		if m.time < before {
			delete(h.marks, s)
		}
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
	h.marks[sender] = senderMark{number: max(number, h.marks[sender].number), time: max(at, h.forgotten)}
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
