package fleet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// ack is an answer that its sender relies on.
type ack struct {
	sequence uint64
	payload  string
}

// Sender sends events 1, 2, 3, … to one daemon, each until it is acknowledged.
type Sender struct {
	Name   string
	Daemon string
	Nodes  []*Node                 // that it sends to, one or another each time
	Batch  int                     // at most, at a time, over one stream; 0 is 1
	Rest   time.Duration           // at most, between events
	Event  func(number int) []byte // nil: its name and the number

	id  identity.EntityID
	rng *rand.Rand

	mu       sync.Mutex
	acks     []ack // by number, from 1
	problems []string
	last     time.Time     // when something was acknowledged
	stall    time.Duration // the longest time between two such moments
}

// NewSender is a sender under a key of its own. What it draws at random follows
// from the seed.
func NewSender(name, daemon string, nodes []*Node, seed uint64) (*Sender, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	return &Sender{Name: name, Daemon: daemon, Nodes: nodes, Rest: 10 * time.Millisecond, id: key.ID(), rng: rand.New(rand.NewPCG(seed, 2))}, nil
}

func (s *Sender) event(number int) []byte {
	if s.Event != nil {
		return s.Event(number)
	}
	return fmt.Appendf(nil, "%s %d", s.Name, number)
}

// Run sends until stop is closed, and then until all that was sent is
// acknowledged.
func (s *Sender) Run(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		batch := 1 + s.rng.IntN(max(s.Batch, 1))
		var last error // of the attempts before
		for upto := s.Acknowledged() + batch; s.Acknowledged() < upto; {
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := s.send(limit, s.Acknowledged()+1, upto)
			cancel()
			if ctx.Err() != nil {
				return fmt.Errorf("sender %s: event %d is not acknowledged: %w; before that: %v", s.Name, s.Acknowledged()+1, err, last)
			}
			if last = err; err != nil {
				Pause(ctx, time.Duration(5+s.rng.IntN(20))*time.Millisecond)
			}
		}
		Pause(ctx, time.Duration(s.rng.Int64N(int64(s.Rest))))
		if s.rng.IntN(20) == 0 { // once more: it must be told the same
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = s.send(limit, max(1, s.Acknowledged()-s.rng.IntN(50)), s.Acknowledged()) // only its answers matter
			cancel()
		}
	}
}

// Acknowledged is how many events are.
func (s *Sender) Acknowledged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acks)
}

// Stall returns the longest time without an acknowledgement since it was last
// asked, and begins anew.
func (s *Sender) Stall() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := max(s.stall, now.Sub(s.last))
	s.stall, s.last = 0, now
	return out
}

// send sends the events from first to last and notes what is acknowledged.
func (s *Sender) send(ctx context.Context, first, last int) error {
	client := s.Nodes[s.rng.IntN(len(s.Nodes))].Client
	id := api.EventID{Sender: s.id.String(), Number: uint64(first)}.String()
	if last == first {
		sent, err := client.Send(ctx, s.Daemon, id, s.event(first))
		if err != nil {
			return err
		}
		return s.note(first, sent)
	}
	at, acked := first, first
	return client.SendAll(ctx, s.Daemon, id, func() ([]byte, error) {
		if at > last {
			return nil, io.EOF
		}
		at++
		return s.event(at - 1), nil
	}, func(sent api.Sent) error {
		acked++
		return s.note(acked-1, sent)
	})
}

func (s *Sender) note(number int, sent api.Sent) error {
	if sent.Error != nil {
		return sent.Error
	}
	if len(sent.Outputs) != 1 {
		s.problem("event %d has %d outputs", number, len(sent.Outputs))
		return errors.New("not one output")
	}
	payload, err := base64.StdEncoding.DecodeString(sent.Outputs[0].Payload)
	if err != nil {
		return err
	}
	got := ack{sent.Outputs[0].Sequence, string(payload)}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case number == len(s.acks)+1:
		s.acks = append(s.acks, got)
		now := time.Now()
		s.stall = max(s.stall, now.Sub(s.last))
		s.last = now
	case number > len(s.acks):
		return fmt.Errorf("event %d is answered before %d", number, len(s.acks)+1)
	case s.acks[number-1] != got:
		s.problems = append(s.problems, fmt.Sprintf("sender %s: event %d was answered with %v, and again with %v", s.Name, number, s.acks[number-1], got))
	}
	return nil
}

func (s *Sender) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, "sender "+s.Name+": "+fmt.Sprintf(format, args...))
}
