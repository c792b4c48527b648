package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"wasmhost.example/host/chain"
)

// Tally counts what became of the senders' events, and keeps what was found
// wrong. It is safe for concurrent use.
type Tally struct {
	mu                          sync.Mutex
	Acknowledged, Lost, Doubled int
	problems                    []string
}

// Problem notes that something is wrong.
func (t *Tally) Problem(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// Err is what was found wrong; nil when nothing was.
func (t *Tally) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.problems) == 0 && t.Lost == 0 && t.Doubled == 0 {
		return nil
	}
	const shown = 20
	said := t.problems
	if len(said) > shown {
		said = append(said[:shown:shown], fmt.Sprintf("and %d more", len(t.problems)-shown))
	}
	return errors.New(strings.Join(said, "\n  "))
}

// Chain is what a daemon's chain holds: its outputs, by sequence from 1, and the
// hash of each.
type Chain struct {
	Payloads []string
	Hashes   []chain.Hash
	Moves    int
}

// ReadChain verifies the daemon's chain and returns what it holds.
func ReadChain(ctx context.Context, n *Node, daemon string) (*Chain, error) {
	r, err := n.Client.Daemons().Chain(ctx, daemon)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := &Chain{}
	report, err := chain.Walk(r, func(i chain.Item) error {
		if i.Output == nil {
			return nil
		}
		c.Payloads = append(c.Payloads, string(i.Output.Payload))
		c.Hashes = append(c.Hashes, i.Output.Link.Hash(i.Output.Payload))
		return nil
	})
	c.Moves = len(report.Moves)
	return c, err
}

// Check compares the chain of a daemon with what its senders were told, when all
// that they sent is acknowledged. Each event has one output. right says whether
// an output is what the daemon answers to that event as its so-manieth.
func (t *Tally) Check(daemon string, c *Chain, senders []*Sender, right func(sequence int, event []byte, output string) bool) {
	sent := 0
	places := make(map[uint64]string) // which event was acknowledged with which output
	for _, s := range senders {
		if s.Daemon != daemon {
			continue
		}
		sent += len(s.acks)
		last := uint64(0)
		for i, a := range s.acks {
			t.count(&t.Acknowledged, 1)
			event := s.event(i + 1)
			named := fmt.Sprintf("%s of %s, %q,", fmt.Sprint(i+1), s.Name, event)
			if a.sequence > uint64(len(c.Payloads)) || a.sequence == 0 || c.Payloads[a.sequence-1] != a.payload {
				t.count(&t.Lost, 1)
				t.Problem("%s: event %s was acknowledged with output %d, %q, which the chain does not have", daemon, named, a.sequence, a.payload)
			}
			if !right(int(a.sequence), event, a.payload) {
				t.Problem("%s: event %s is answered, as output %d, with %q", daemon, named, a.sequence, a.payload)
			}
			if other, ok := places[a.sequence]; ok {
				t.Problem("%s: events %s and %s have the same output", daemon, named, other)
			}
			places[a.sequence] = named
			if a.sequence <= last {
				t.Problem("%s: event %s was applied before the one before it", daemon, named)
			}
			last = a.sequence
		}
	}
	if len(c.Payloads) > sent { // every event that was sent is acknowledged by now
		t.count(&t.Doubled, len(c.Payloads)-sent)
		t.Problem("%s: %d events were sent, %d are applied", daemon, sent, len(c.Payloads))
	}
}

// Senders notes what the senders found wrong.
func (t *Tally) Senders(senders []*Sender) {
	for _, s := range senders {
		for _, p := range s.problems {
			t.Problem("%s", p)
		}
	}
}

func (t *Tally) count(n *int, by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*n += by
}
