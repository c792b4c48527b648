package host

import (
	"fmt"
	"slices"

	"wasmhost/identity"
)

// horizon is up to which number each sender's events are applied. It is what
// makes a delivery exactly-once: it is part of the daemon's state, is
// journalled with every event and travels with the daemon.
type horizon struct {
	marks map[identity.EntityID]senderMark
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
	for s, m := range h.marks {
		if m.time < before {
			delete(h.marks, s)
		}
	}
	if len(h.marks) >= limit {
		return fmt.Errorf("%w: %d", ErrHorizonFull, limit)
	}
	return nil
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
	h.marks[sender] = senderMark{number: max(number, h.marks[sender].number), time: at}
}

// list returns the marks, sorted by sender.
func (h *horizon) list() []SenderMark {
	out := make([]SenderMark, 0, len(h.marks))
	for s, m := range h.marks {
		out = append(out, SenderMark{Sender: s, Number: m.number, Time: m.time})
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
