package effect

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/identity"
)

var me, you = identity.EntityID{1}, identity.EntityID{2}

// full is a state of everything.
func full() *State {
	s := New(Grants{SendAny: true, Publish: []PublishGrant{{Node: 7, Pattern: "a/*"}, {Node: 8, Pattern: "a/b"}, {Node: 9, Pattern: "*"}}})
	s.Apply(3, 5, []Effect{{Kind: Publish, Channel: "a/b", Payload: []byte("x")}, {Kind: Send, To: you, Payload: []byte("y")},
		{Kind: Timer, At: 90, Payload: []byte("late")}, {Kind: Timer, At: 80, Payload: []byte("soon")}, {Kind: Publish, Channel: "a/c"}, {Kind: Publish, Channel: "d"}})
	s.Hear(Mark{Sender: you, Epoch: 2, Number: 9, Time: 4})
	return s
}

func TestApplyAndSettle(t *testing.T) {
	s := full()
	if p := s.Places(); len(p) != 4 || p[0] != (Place{Node: 8, Channel: "a/b"}) || p[1] != (Place{To: you}) || p[2].Node != 7 || p[3].Node != 9 {
		t.Errorf("it goes to %v", p)
	}
	if a, ok := s.Next(); !ok || a.ID != Number(5, 3) || a.At != 80 {
		t.Errorf("the first timer is %+v", a)
	}
	s.Apply(3, 6, []Effect{{Kind: Cancel, ID: Number(5, 3)}, {Kind: Send, To: you, Payload: []byte("z")}})
	if a, _ := s.Next(); a.At != 90 {
		t.Errorf("the first timer is %+v", a)
	}
	if l := s.For(Place{To: you}, 1, 100); len(l) != 1 || string(l[0].Payload) != "y" {
		t.Errorf("%+v", l)
	}
	s.Settle(Place{To: you}, 3, Number(5, 1))
	if l := s.For(Place{To: you}, 9, 0); len(l) != 1 || string(l[0].Payload) != "z" {
		t.Errorf("%+v", l)
	}
	if room := s.Room(); room.Pending != MaxPending-4 || room.Bytes != MaxPendingBytes-4*overhead-2 || room.Timers != MaxTimers-1 {
		t.Errorf("room for %+v", room)
	}
	s.Hear(Mark{Sender: you, Epoch: 1, Number: 99})
	if m, _ := s.Heard(you); m.Number != 9 || m.Before(2, 9) || !m.Before(3, 1) {
		t.Errorf("the mark is %+v", m)
	}
}

func TestGrantsMatch(t *testing.T) {
	g := full().Grants()
	for name, node := range map[string]identity.NodeID{"a/b": 8, "a/x/y": 7, "a": 9, "ab": 9} {
		if got := g.MayPublish(name); got == nil || got.Node != node {
			t.Errorf("%s: %+v", name, got)
		}
	}
	g = &Grants{Publish: []PublishGrant{{Node: 7, Pattern: "a/*"}}}
	for _, name := range []string{"a", "a/", "b/a", "ab/c"} {
		if got := g.MayPublish(name); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	stopped := full()
	stopped.Halt(true)
	for _, s := range []*State{full(), stopped, asking(), asking().Fork(), asking().Resting(), New(Grants{Send: []identity.EntityID{me, you}}), full().Resting()} {
		b, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 0))
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrBadState) {
				t.Error(err)
			}
			return
		}
		again, err := s.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is encoded as %x, %v", b, again, err)
		}
	})
}
