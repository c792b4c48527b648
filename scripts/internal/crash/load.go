package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"wasmhost/identity"
	"wasmhost/wire/control"
)

// ack is an answer that its sender relies on.
type ack struct {
	sequence uint64
	payload  string
}

// sender sends events 1, 2, 3, … to one daemon, each until it is acknowledged.
type sender struct {
	t      *trial
	name   string
	daemon string
	stream bool // many at a time
	id     identity.EntityID
	rng    *rand.Rand

	mu       sync.Mutex
	acks     []ack // by number, from 1
	problems []string
}

func (s *sender) event(number int) []byte { return fmt.Appendf(nil, "%s %d", s.name, number) }

// run sends until stop is closed, and then until all that was sent is
// acknowledged.
func (s *sender) run(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		batch := 1
		if s.stream {
			batch = 1 + s.rng.IntN(120)
		}
		for upto := s.done() + batch; s.done() < upto; {
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := s.send(limit, s.done()+1, upto)
			cancel()
			if ctx.Err() != nil {
				return fmt.Errorf("sender %s: event %d is not acknowledged: %w", s.name, s.done()+1, err)
			}
			if err != nil {
				pause(ctx, time.Duration(5+s.rng.IntN(20))*time.Millisecond)
			}
		}
		pause(ctx, time.Duration(s.rng.IntN(10))*time.Millisecond)
		if s.rng.IntN(20) == 0 { // once more: it must be told the same
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = s.send(limit, max(1, s.done()-s.rng.IntN(50)), s.done()) // only its answers matter
			cancel()
		}
	}
}

func (s *sender) done() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acks)
}

// send sends the events from first to last and notes what is acknowledged.
func (s *sender) send(ctx context.Context, first, last int) error {
	client := s.t.nodes[s.rng.IntN(len(s.t.nodes))].client
	id := control.EventID{Sender: s.id.String(), Number: uint64(first)}.String()
	if !s.stream || last == first {
		sent, err := client.Send(ctx, s.daemon, id, s.event(first))
		if err != nil {
			return err
		}
		return s.note(first, sent)
	}
	at, acked := first, first
	return client.SendAll(ctx, s.daemon, id, func() ([]byte, error) {
		if at > last {
			return nil, io.EOF
		}
		at++
		return s.event(at - 1), nil
	}, func(sent control.Sent) error {
		acked++
		return s.note(acked-1, sent)
	})
}

func (s *sender) note(number int, sent control.Sent) error {
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
	case number > len(s.acks):
		return fmt.Errorf("event %d is answered before %d", number, len(s.acks)+1)
	case s.acks[number-1] != got:
		s.problems = append(s.problems, fmt.Sprintf("sender %s: event %d was answered with %v, and again with %v", s.name, number, s.acks[number-1], got))
	}
	return nil
}

func (s *sender) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, "sender "+s.name+": "+fmt.Sprintf(format, args...))
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
