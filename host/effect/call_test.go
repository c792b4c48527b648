package effect

import (
	"reflect"
	"slices"
	"testing"

	"wasmhost.example/identity"
)

// asking is a state that has asked, was asked, and has answered.
func asking() *State {
	s := New(Grants{SendAny: true})
	s.Apply(3, 5, []Effect{{Kind: Ask, To: you, At: 90, Payload: []byte("price?")}, {Kind: Ask, To: you, Payload: []byte("stock?")}, {Kind: Ask, To: me, At: 80}})
	s.Asked(6, you, CallName{Epoch: 1, Number: 4096})
	s.Asked(7, you, CallName{Epoch: 1, Number: 4097})
	s.Asked(8, me, CallName{Epoch: 9, Number: 1})
	s.Apply(3, 8, []Effect{{Kind: Answer, ID: 7, Payload: []byte("9")}, {Kind: Refuse, ID: 8, Payload: []byte("no")}, {Kind: Answer, ID: 7, Payload: []byte("10")}, {Kind: Answer, ID: 99}})
	return s
}

func TestCallsAreAnsweredOnce(t *testing.T) {
	s := asking()
	wantOwed := []Owed{{ID: 6, From: you, Call: CallName{Epoch: 1, Number: 4096}}}
	if got := s.Owes(); !reflect.DeepEqual(got, wantOwed) {
		t.Errorf("owed: got %+v, want %+v", got, wantOwed)
	}
	wantReplies := []Reply{
		{Epoch: 3, Number: 1, To: you, Call: CallName{Epoch: 1, Number: 4097}, Status: Answered, Payload: []byte("9")},
		{Epoch: 3, Number: 2, To: me, Call: CallName{Epoch: 9, Number: 1}, Status: Declined, Payload: []byte("no")},
	}
	if got := s.Replies(); !reflect.DeepEqual(got, wantReplies) {
		t.Errorf("replies: got %+v, want %+v", got, wantReplies)
	}
	if s.IsOwed(7) || !s.IsOwed(6) {
		t.Error("what was answered is owed, or what is owed is not")
	}

	s.SettleReplies(you, 3, 2) // those to another daemon stay, whatever their numbers
	if got := s.Askers(); !slices.Equal(got, []identity.EntityID{me}) {
		t.Errorf("replies go to %v, want %v", got, me)
	}
	if got := s.RepliesTo(you, 9, 100); len(got) != 0 {
		t.Errorf("settled replies are there: %+v", got)
	}
	s.Answer(4, 6, Answered, nil)
	if got := s.RepliesTo(you, 9, 100); len(got) != 1 || got[0].Number != 3 {
		t.Errorf("the third reply: got %+v, want number 3", got)
	}
}

func TestCallsEndOnce(t *testing.T) {
	s := asking()
	first, second, third := CallName{Epoch: 3, Number: Number(5, 0)}, CallName{Epoch: 3, Number: Number(5, 1)}, CallName{Epoch: 3, Number: Number(5, 2)}
	if got := s.Room().Calls; got != MaxCalls-3 {
		t.Errorf("room for %d calls, want %d", got, MaxCalls-3)
	}
	if c, at, ok := s.NextCall(0); !ok || c.Name != third || at != 80 {
		t.Errorf("the next to time out: got %+v at %d, want %+v at 80", c, at, third)
	}
	for _, name := range []CallName{third, first} {
		if !s.IsCall(name.Epoch, name.Number) || !s.End(name) || s.End(name) || s.IsCall(name.Epoch, name.Number) {
			t.Errorf("call %+v does not end once", name)
		}
	}
	if _, _, ok := s.NextCall(0); ok {
		t.Error("a call without a deadline times out")
	}
	if got := s.Pending(); len(got) != 1 || got[0].Number != second.Number {
		t.Errorf("got %+v on their way, want the call that is open alone", got)
	}
	if c, ok := s.Call(second); !ok || c.To != you {
		t.Errorf("the second call: got %+v, %v", c, ok)
	}

	fork := s.Fork()
	if c, at, ok := fork.NextCall(0); !ok || at != 1 || c.Ends != Forked || c.Name != second {
		t.Errorf("a fork's call: got %+v at %d, %v; want one that ends as forked at once", c, at, ok)
	}
	if fork.IsOwed(6) || len(fork.Replies()) > 0 {
		t.Error("a fork answers what its parent was asked")
	}
}

func TestAsksAreBounded(t *testing.T) {
	s := New(Grants{})
	for n := range uint64(MaxOwed) {
		by := you
		if n >= MaxOwed/2 { // each of the others asks once
			by = identity.EntityID{2, byte(n), byte(n >> 8)}
		}
		if !s.MayBeAsked(by) {
			t.Fatalf("no room after %d asks, want %d", n, MaxOwed)
		}
		s.Asked(n+1, by, CallName{Epoch: 1, Number: n + 1})
	}
	other := identity.EntityID{3}
	if s.Answer(1, 1, Answered, nil); s.MayBeAsked(other) {
		t.Error("a reply that has not left makes room")
	}
	if s.SettleReplies(you, 1, 1); !s.MayBeAsked(other) {
		t.Error("a reply that has left makes no room")
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b); err != nil {
		t.Errorf("the fullest state is refused: %v", err)
	}
}

// One that asks much leaves room to others: alone it gets half, and of two each a third.
func TestAskersLeaveRoomToOthers(t *testing.T) {
	s, number := New(Grants{}), uint64(0)
	fill := func(by identity.EntityID) (n int) {
		for s.MayBeAsked(by) {
			number++
			s.Asked(number, by, CallName{Epoch: 1, Number: number})
			n++
		}
		return n
	}
	first, second, third := fill(identity.EntityID{1}), fill(identity.EntityID{2}), fill(identity.EntityID{3})
	if first != MaxOwed/2 || second != MaxOwed/4 || third != MaxOwed/8 {
		t.Errorf("askers that come one after the other get %d, %d and %d, want 512, 256 and 128", first, second, third)
	}
}

func TestCallsThatAreGivenUpEnd(t *testing.T) {
	s := asking()
	if last, ok := s.LastCall(you); !ok || last.Number != Number(5, 1) {
		t.Errorf("the last call: got %+v, %v", last, ok)
	}
	s.GiveUp(you, CallName{Epoch: 3, Number: Number(5, 0)}) // the first of two
	c, at, ok := s.NextCall(0)
	if want := (CallName{Epoch: 3, Number: Number(5, 0)}); !ok || c.Name != want || c.Ends != NoSuchDaemon || at != 1 {
		t.Errorf("got %+v at %d, %v; want %+v to end as no such daemon at once", c, at, ok, want)
	}
	if _, at, ok := s.NextCall(Number(5, 0)); ok {
		t.Errorf("a call of a later round is due at %d", at)
	}
	if got := len(ReplyText(string(make([]byte, 2*MaxReplyText)))); got != MaxReplyText {
		t.Errorf("a reason has %d bytes, want %d", got, MaxReplyText)
	}
}
