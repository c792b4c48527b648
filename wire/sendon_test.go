package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// owner is a Local with one daemon, which it takes events for until it has lost it.
type owner struct {
	mu    sync.Mutex
	took  []uint64           // the numbers of the events, in order
	hold  bool               // nothing is answered
	held  []func(error)      // what answers those that are not
	came  chan struct{}      // closed when another event is taken; nil: nobody waits
	moved *daemon.MovedError // where the daemon went
}

func (o *owner) Submit(_ context.Context, _ identity.EntityID, ev daemon.Event) (*host.Pending, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.moved != nil {
		return nil, o.moved
	}
	o.took = append(o.took, ev.Number)
	if o.came != nil {
		close(o.came)
		o.came = nil
	}
	p, answer := host.NewPending()
	if o.hold {
		o.held = append(o.held, func(err error) { answer(daemon.Result{}, err) })
	} else {
		answer(daemon.Result{Outputs: []chain.Output{{Payload: fmt.Append(nil, ev.Number)}}}, nil)
	}
	return p, nil
}

// Believe implements Local: it takes every claim for proven.
func (o *owner) Believe(_ context.Context, id identity.EntityID, node, _ identity.NodeID) (host.Proven, error) {
	return host.Proven{Moved: daemon.Moved{Entity: id, Node: node}}, nil
}

// wait waits until so many events are taken.
func (o *owner) wait(t *testing.T, n int) {
	t.Helper()
	for {
		o.mu.Lock()
		took := len(o.took)
		if o.came == nil {
			o.came = make(chan struct{})
		}
		came := o.came
		o.mu.Unlock()
		if took >= n {
			return
		}
		select {
		case <-came:
		case <-t.Context().Done():
			t.Fatalf("%d of %d events came", took, n)
		}
	}
}

// fail answers what is not answered with err, and goes on.
func (o *owner) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, answer := range o.held {
		answer(err)
	}
	o.held, o.hold = nil, false
}

// lose gives the daemon up: what is not answered is told where it went.
func (o *owner) lose(to daemon.Moved) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.moved = &daemon.MovedError{Moved: to}
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
			went := daemon.Moved{Entity: id, Node: b.Self(), Epoch: 2}
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

// TestNothingFollowsWhatIsLost has an owner that can not keep some events, and takes
// others after that, as one does whose disk was full.
func TestNothingFollowsWhatIsLost(t *testing.T) {
	lost := errors.New("the disk is full")
	for _, where := range []string{"here", "there"} {
		t.Run(where, func(t *testing.T) {
			a, b := newMesh(t, Config{Identity: someKey(t), Name: "a"}), newMesh(t, Config{Identity: someKey(t), Name: "b"})
			join(t, a, b)
			o := &owner{hold: true}
			at, from := NewNode(a, o), NewNode(b, &owner{moved: &daemon.MovedError{Moved: daemon.Moved{Node: a.Self(), Epoch: 1}}})
			if where == "here" {
				from = at
			}
			s, err := from.OpenSender(t.Context(), identity.EntityID{7}, a.Self(), identity.EntityID{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			first, err := s.Submit(t.Context(), []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			o.wait(t, 1)
			o.fail(lost)
			if _, err := first.Wait(t.Context()); err == nil {
				t.Error("an event that is lost was answered")
			}
			if ticket, err := s.Submit(t.Context(), []byte("x")); err == nil {
				if _, err := ticket.Wait(t.Context()); err == nil {
					t.Error("the event after one that is lost was answered")
				}
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if !slices.Equal(o.took, []uint64{1}) {
				t.Errorf("the owner took %v", o.took)
			}
		})
	}
}

// TestWhatWasGivenUpComesFirstWhereTheDaemonIsBack has an owner that loses the daemon and
// has it again before it is sent the next event.
func TestWhatWasGivenUpComesFirstWhereTheDaemonIsBack(t *testing.T) {
	for _, where := range []string{"here", "there"} {
		t.Run(where, func(t *testing.T) {
			a, b := newMesh(t, Config{Identity: someKey(t), Name: "a"}), newMesh(t, Config{Identity: someKey(t), Name: "b"})
			join(t, a, b)
			id := identity.EntityID{7}
			o := &owner{hold: true}
			other := &owner{moved: &daemon.MovedError{Moved: daemon.Moved{Entity: id, Node: a.Self(), Epoch: 3}}}
			from, back := NewNode(a, o), NewNode(b, other)
			if where == "there" {
				from = back
			}
			s, err := from.OpenSender(t.Context(), id, a.Self(), identity.EntityID{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var tickets []*Ticket
			send := func() {
				ticket, err := s.Submit(t.Context(), []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				tickets = append(tickets, ticket)
			}
			send()
			send()
			send()
			o.wait(t, 3)
			o.lose(daemon.Moved{Entity: id, Node: b.Self(), Epoch: 2})
			o.mu.Lock()
			o.moved, o.took, o.hold = nil, nil, false
			o.mu.Unlock()
			send()
			for i, ticket := range tickets {
				if res, err := ticket.Wait(t.Context()); err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(i+1) {
					t.Errorf("event %d: %+v, %v", i+1, res, err)
				}
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if !slices.Equal(o.took, []uint64{1, 2, 3, 4}) {
				t.Errorf("the owner took %v", o.took)
			}
		})
	}
}

// TestNobodyDialsWhereTheDaemonWas has a sender hear where the daemon is right before it
// dials the node that had it, which is gone: it does not wait for that one.
func TestNobodyDialsWhereTheDaemonWas(t *testing.T) {
	a, b := newMesh(t, Config{Identity: someKey(t), Name: "a"}), newMesh(t, Config{Identity: someKey(t), Name: "b"})
	join(t, a, b)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone := someKey(t)
	if err := errors.Join(a.Introduce(gone.ID(), trust.RightsAll), a.Met(gone.ID(), "gone", silent.LocalAddr().String())); err != nil {
		t.Fatal(err)
	}
	id := identity.EntityID{7}
	s, err := NewNode(a, &owner{}).OpenSender(t.Context(), id, gone.ID().Node(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	went := daemon.Moved{Entity: id, Node: b.Self(), Epoch: 2}
	s.mu.Lock()
	heard := make(chan struct{})
	go func() { defer close(heard); s.elsewhere(went) }()
	for s.news.Load() == nil {
		runtime.Gosched()
	}
	err = s.dial()
	s.mu.Unlock()
	var moved *daemon.MovedError
	if !errors.As(err, &moved) || moved.Node != b.Self() {
		t.Errorf("it dialled: %v", err)
	}
	<-heard
	if s.where() != b.Self() || s.news.Load() != nil {
		t.Errorf("it is at %s", s.where())
	}

	// Who waits for another to dial the node stops waiting when it is told to.
	first, second := make(chan struct{}), make(chan error)
	dialling, stop := context.WithCancel(t.Context())
	go func() {
		defer close(first)
		_, _ = a.open(dialling, gone.ID().Node(), purposeEvents) // it is stopped
	}()
	for turn := (chan struct{})(nil); len(turn) == 0; runtime.Gosched() {
		a.mu.Lock()
		turn = a.dialing[gone.ID().Node()]
		a.mu.Unlock()
	}
	waiting, leave := context.WithCancel(t.Context())
	go func() {
		_, err := a.open(waiting, gone.ID().Node(), purposeEvents)
		second <- err
	}()
	leave()
	if err := <-second; !errors.Is(err, mesh.ErrUnreachable) {
		t.Error(err)
	}
	select {
	case <-first:
		t.Error("the one that dials has ended as well")
	default:
	}
	stop()
	<-first
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
	old.lose(daemon.Moved{Entity: identity.EntityID{7}, Node: 9, Epoch: 2})
	var moved *daemon.MovedError
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
