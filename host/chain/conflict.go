package chain

import (
	"fmt"

	"wasmhost.example/identity"
)

// Claims is what one copy of a daemon's chain says: the links, and the
// checkpoints that sign them. It keeps no payloads, but those of the outputs from
// keepFrom up to, and without, keepTo.
type Claims struct {
	outputs []testified
	checks  []Checkpoint
	at      []int // how many outputs stood before each of checks

	keepFrom, keepTo int
	kept             []StatedLink
}

type testified struct {
	claim
	size int64 // of link and payload
}

// Output adds the next link.
func (t *Claims) Output(l *Link, payload []byte, hash Hash) {
	if n := len(t.outputs); n >= t.keepFrom && n < t.keepTo {
		t.kept = append(t.kept, StatedLink{Link: *l, Payload: append([]byte(nil), payload...)})
	}
	t.outputs = append(t.outputs, testified{claim{l.Epoch, l.Sequence, hash}, int64(len(payload)) + 96})
}

// check adds a checkpoint that stands on the last link, or before all that are
// known.
func (t *Claims) check(c verifiedCheckpoint) {
	t.checks, t.at = append(t.checks, *c.c), append(t.at, len(t.outputs))
}

// Stated is check of a checkpoint that nobody has verified. One that the daemon has
// not signed says nothing.
func (t *Claims) Stated(c *Checkpoint) {
	if proven, err := c.verified(); err == nil {
		t.check(proven)
	}
}

// stated is a claim with what bears it out: the outputs from link on up to
// checkpoint check.
type stated struct {
	claim
	link  int // -1: the checkpoint alone
	check int
	cost  int64 // bytes of the links
}

// statements are all claims of the chain that a signature bears out.
func (t *Claims) statements() []stated {
	out := make([]stated, 0, len(t.checks)+len(t.outputs))
	for i, c := range t.checks {
		out = append(out, stated{claim{c.Epoch, c.Sequence, c.Head}, -1, i, 0})
	}

	next, cost := len(t.checks)-1, int64(0)
	last := -1 // checkpoint that the output at hand is borne out by
	for i := len(t.outputs) - 1; i >= 0; i-- {
		for next >= 0 && t.at[next] > i { // the first that stands on output i, or later
			if t.at[next] == i+1 {
				cost = 0
			}
			last = next
			next--
		}

		cost += t.outputs[i].size
		if last >= 0 && t.at[last]-i <= maxStatedLinks {
			out = append(out, stated{t.outputs[i].claim, i, last, cost})
		}
	}

	return out
}

type place struct{ epoch, sequence uint64 }

// contradiction returns the cheapest pair of statements of two chains that
// contradict each other; false when there is none.
func contradiction(a, b *Claims) (x, y stated, found bool) {
	best := make(map[place]stated)
	handed := make(map[uint64]int) // the hand-over into an epoch, of a
	for _, s := range a.statements() {
		p := place{s.epoch, s.sequence}
		if old, ok := best[p]; !ok || s.cost < old.cost {
			best[p] = s
		}
		if s.link < 0 && a.checks[s.check].Purpose == PurposeHandover {
			handed[s.epoch] = s.check
		}
	}

	offer := func(s, o stated) {
		cost, old := s.cost+o.cost, x.cost+y.cost
		if !found || cost < old || cost == old && (o.epoch < y.epoch || o.epoch == y.epoch && o.sequence < y.sequence) {
			x, y, found = s, o, true
		}
	}

	for _, o := range b.statements() {
		if s, ok := best[place{o.epoch, o.sequence}]; ok && s.contradicts(o.claim) {
			offer(s, o)
		}

		if o.link >= 0 {
			continue
		}
		if k, ok := handed[o.epoch]; ok && handedTwice(&a.checks[k], &b.checks[o.check]) {
			c := &a.checks[k]
			offer(stated{claim{c.Epoch, c.Sequence, c.Head}, -1, k, 0}, o)
		}
	}

	return x, y, found
}

// statement makes the statement of s. again reads the same chain once more, into
// the Claims that it is given.
func (t *Claims) statement(s stated, again func(*Claims) error) (Statement, error) {
	out := Statement{Links: []StatedLink{}, Checkpoint: t.checks[s.check]}
	if s.link < 0 {
		return out, nil
	}

	whole := &Claims{keepFrom: s.link, keepTo: t.at[s.check]}
	if err := again(whole); err != nil {
		return out, err
	}
	if len(whole.kept) != whole.keepTo-whole.keepFrom {
		return out, fmt.Errorf("%w: the chain changed while it was read", ErrBadProof)
	}

	out.Links = whole.kept
	return out, nil
}

// About returns the statement of the last link of the epoch up to the sequence whose
// links have at most so many bytes; nil where nothing of the kind is signed. again reads
// the same chain once more.
func (t *Claims) About(epoch, sequence uint64, most int64, again Source) (*Statement, error) {
	var best *stated
	for _, s := range t.statements() {
		if s.epoch == epoch && s.sequence <= sequence && s.cost <= most && (best == nil || s.sequence > best.sequence || s.sequence == best.sequence && s.cost < best.cost) {
			best = &s
		}
	}

	if best == nil {
		return nil, nil
	}

	out, err := t.statement(*best, again)
	return &out, err
}

// Source is a chain that can be read more than once.
type Source func(*Claims) error

// FindConflict looks for a contradiction between two chains of one daemon. It returns
// nil, nil when there is none. id is called once they are read.
func FindConflict(id func() identity.EntityID, a, b Source) (*Equivocation, error) {
	var s, o Claims
	if err := a(&s); err != nil {
		return nil, err
	}
	if err := b(&o); err != nil {
		return nil, err
	}

	x, y, found := contradiction(&s, &o)
	if !found {
		return nil, nil
	}

	first, err := s.statement(x, a)
	if err != nil {
		return nil, err
	}

	second, err := o.statement(y, b)
	if err != nil {
		return nil, err
	}

	e, err := newEquivocation(id(), first, second)
	if err != nil {
		return nil, err
	}
	if _, err := e.Verify(); err != nil { // what is not true is not told
		return nil, err
	}

	return e, nil
}

// Source is the statement as a chain of its own.
func (s *Statement) Source(t *Claims) error {
	for i := range s.Links {
		l := &s.Links[i]
		t.Output(&l.Link, l.Payload, l.Link.Hash(l.Payload))
	}
	t.Stated(&s.Checkpoint)
	return nil
}

// From is the sequence of the first link that the statement is about.
func (s *Statement) From() uint64 {
	if len(s.Links) > 0 {
		return s.Links[0].Link.Sequence
	}
	return s.Checkpoint.Sequence
}
