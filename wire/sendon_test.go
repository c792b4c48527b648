package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"wasmhost/host"
	"wasmhost/identity"
)

// owner is a Local with one daemon, which it takes events for until it has lost it.
type owner struct {
	mu    sync.Mutex
	took  []uint64         // the numbers of the events, in order
	hold  bool             // nothing is answered
	held  []func(error)    // what answers those that are not
	moved *host.MovedError // where the daemon went
}

func (o *owner) Submit(_ context.Context, _ identity.EntityID, ev host.Event) (*host.Pending, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.moved != nil {
		return nil, o.moved
	}
	o.took = append(o.took, ev.Number)
	p, answer := host.NewPending()
	if o.hold {
		o.held = append(o.held, func(err error) { answer(host.Result{}, err) })
	} else {
		answer(host.Result{Outputs: []host.Output{{Payload: fmt.Append(nil, ev.Number)}}}, nil)
	}
	return p, nil
}

// lose gives the daemon up: what is not answered is told where it went.
func (o *owner) lose(to host.Moved) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.moved = &host.MovedError{Moved: to}
	for _, answer := range o.held {
		answer(o.moved)
	}
	o.held = nil
}

// TestWhatALostOwnerTookGoesOnInOrder sends events to an owner that answers two of them
// and takes three more; then another node has the daemon. The sender has them answered
// there, before what it sends later, whoever looks first.
func TestWhatALostOwnerTookGoesOnInOrder(t *testing.T) {
	id := identity.EntityID{7}
	for _, first := range []string{"who sends", "who waits", "the node hears of it"} {
		t.Run(first, func(t *testing.T) {
			a, b := newMesh(t, Config{Identity: someKey(t), Name: "a"}), newMesh(t, Config{Identity: someKey(t), Name: "b"})
			join(t, a, b)
			old, next := &owner{}, &owner{}
			here := NewNode(a, old)
			NewNode(b, next)
			s, err := here.OpenSender(t.Context(), id, 0, identity.EntityID{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var tickets []*Ticket
			send := func() {
				t.Helper()
				ticket, err := s.Submit(t.Context(), []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				tickets = append(tickets, ticket)
			}
			send()
			send()
			old.mu.Lock()
			old.hold = true
			old.mu.Unlock()
			send()
			send()
			send()
			went := host.Moved{Entity: id, Node: b.Self(), Epoch: 2}
			old.lose(went)
			switch first {
			case "who waits":
				if _, err := tickets[3].Wait(t.Context()); err != nil {
					t.Error(err)
				}
			case "the node hears of it":
				here.Moved(went)
			}
			send()
			for i, ticket := range tickets {
				res, err := ticket.Wait(t.Context())
				if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(i+1) {
					t.Errorf("event %d: %+v, %v", i+1, res, err)
				}
			}
			next.mu.Lock()
			defer next.mu.Unlock()
			if want := []uint64{3, 4, 5, 6}; !slices.Equal(next.took, want) {
				t.Errorf("the next owner took %v, not %v", next.took, want)
			}
		})
	}
}

// TestAClosedSenderSaysWhereTheDaemonWent has nobody to send on what the owner gave up.
func TestAClosedSenderSaysWhereTheDaemonWent(t *testing.T) {
	a := newMesh(t, Config{Identity: someKey(t), Name: "a"})
	old := &owner{hold: true}
	s, err := NewNode(a, old).OpenSender(t.Context(), identity.EntityID{7}, 0, identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := s.Submit(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	old.lose(host.Moved{Entity: identity.EntityID{7}, Node: 9, Epoch: 2})
	var moved *host.MovedError
	if _, err := ticket.Wait(t.Context()); !errors.As(err, &moved) || moved.Node != 9 {
		t.Errorf("%v", err)
	}
}

func someKey(t *testing.T) *identity.KeyPair {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
