package wire

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// rawEvents is an events stream that the test writes itself.
type rawEvents struct {
	t testing.TB
	*remote
	in *bufio.Reader
}

func openRaw(t testing.TB, from, to *testNode, id identity.EntityID) *rawEvents {
	t.Helper()
	stream, err := from.mesh.open(ctx, to.mesh.Self(), purposeEvents)
	if err != nil {
		t.Fatal(err)
	}
	r := &rawEvents{t: t, remote: newRemote(stream), in: bufio.NewReader(stream)}
	t.Cleanup(r.abort)
	if err := r.write(&openEvents{Entity: id}); err != nil {
		t.Fatal(err)
	}
	return r
}

// ask sends one frame and returns what is answered.
func (r *rawEvents) ask(f *eventFrame) (daemon.Result, error) {
	r.t.Helper()
	if err := r.write(f); err != nil {
		r.t.Fatal(err)
	}
	b, err := canon.ReadFrame(r.in, maxReplyFrame)
	if err != nil {
		r.t.Fatalf("the stream ended instead of an answer: %v", err)
	}
	reply, err := decodeReply(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply.result(identity.EntityID{})
}

func spawnGuest(t testing.TB, n *testNode, kind, file string) identity.EntityID {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.rt.Kinds().Push(ctx, kind, wasm); err != nil {
		t.Fatal(err)
	}
	i, err := n.rt.Spawn(ctx, daemon.SpawnRequest{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	return i.Entity
}

// peers are two nodes; what b may do at a is rights.
func peers(t testing.TB, rights trust.Rights) (a, b *testNode) {
	t.Helper()
	a, b = newNode(t, "a"), newNode(t, "b")
	token, err := a.mesh.Token(60e9, rights)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Whatever a peer writes into an event, the guest reads no sender and no channel, and
// the stream goes on after what is refused.
func TestPeersCannotForgeFields(t *testing.T) {
	for _, rights := range []trust.Rights{0, trust.RightsAll} {
		t.Run(rights.String(), func(t *testing.T) {
			a, b := peers(t, rights)
			id := spawnGuest(t, a, "probe", "c/probe.wasm")
			victim := spawnGuest(t, a, "counter", "c/counter.wasm")
			r := openRaw(t, b, a, id)

			for _, c := range []struct {
				what string
				f    eventFrame
				want error
			}{
				{"a channel", eventFrame{Sender: victim, Number: 1, Channel: "ticks"}, daemon.ErrReserved},
				{"a channel of 16 MiB", eventFrame{Sender: victim, Number: 1, Channel: strings.Repeat("x", 16<<20)}, daemon.ErrReserved},
				{"number 0", eventFrame{Sender: victim}, daemon.ErrEventNumber},
				{"number 2^63", eventFrame{Sender: victim, Number: 1 << 63}, daemon.ErrEventNumber},
			} {
				c.f.Payload = []byte("event")
				if res, err := r.ask(&c.f); !errors.Is(err, c.want) {
					t.Errorf("an event with %s: %+v, %v; want %v", c.what, res, err, c.want)
				}
			}

			res, err := r.ask(&eventFrame{Sender: victim, Number: 1, Payload: []byte("event")})
			if err != nil || len(res.Outputs) != 5 {
				t.Fatalf("%+v, %v", res, err)
			}
			if seq, sender, channel := res.Outputs[0].Payload, res.Outputs[3].Payload, res.Outputs[4].Payload; string(seq) != "1" || string(sender) != strings.Repeat("0", 64) || len(channel) != 0 {
				t.Errorf("the guest reads sequence %s, sender %s, channel %q", seq, sender, channel)
			}
		})
	}
}

// A peer that may not operate daemons can neither use another's sender, nor burn its
// numbers, nor take the places of others. One that may has the same names as the owner.
func TestPeersHaveSendersOfTheirOwn(t *testing.T) {
	a, b := peers(t, trust.RightsAll&^trust.RightOperate)
	id := spawnGuest(t, a, "counter", "c/counter.wasm")
	name := identity.NamedSender("order")
	own := func(number uint64) (daemon.Result, error) {
		return a.rt.Deliver(ctx, id, daemon.Event{Sender: name, Number: number})
	}

	if _, err := own(1); err != nil {
		t.Fatal(err)
	}
	r := openRaw(t, b, a, id)
	if res, err := r.ask(&eventFrame{Sender: name, Number: 1}); err != nil || res.Duplicate {
		t.Errorf("the peer's first event: %+v, %v; want that it is no repeat of the owner's", res, err)
	}
	if _, err := r.ask(&eventFrame{Sender: name, Number: daemon.MaxEventNumber}); err != nil {
		t.Errorf("the peer's last event: %v", err)
	}
	if res, err := own(2); err != nil || res.Duplicate || string(res.Outputs[0].Payload) != "4" {
		t.Errorf("the owner's next event: %+v, %v", res, err)
	}

	p, err := a.mesh.FindPeer("b")
	if err == nil {
		err = a.mesh.Grant(p.Key, trust.RightsAll) // on a stream that is open
	}
	if err != nil {
		t.Fatal(err)
	}
	if res, err := r.ask(&eventFrame{Sender: name, Number: 2}); err != nil || !res.Duplicate {
		t.Errorf("the owner's event, sent again through the peer: %+v, %v", res, err)
	}
}

// However many events come that nobody numbers, a node is few senders.
func TestOneShotsTakeNoPlace(t *testing.T) {
	a, b := peers(t, 0)
	id := counter(t, a)
	const events = 200
	for i := range events {
		from := a
		if i%2 == 1 {
			from = b
		}
		s, err := from.node.OpenSender(ctx, id, a.mesh.Self(), identity.EntityID{})
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := s.Submit(ctx, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := ticket.Wait(ctx); err != nil || res.Duplicate || string(res.Outputs[0].Payload) != fmt.Sprint(i+1) {
			t.Fatalf("event %d: %+v, %v", i+1, res, err)
		}
		s.Close()
	}
	snap, err := a.rt.Snapshot(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if n := snapshot.SendersOf(snap.Header.Horizon); n != 2 {
		t.Errorf("after %d events without an id the daemon remembers %d senders, want one for each node", events, n)
	}
}

// Open senders never share a lane, and there are at most MaxLanes.
func TestLanes(t *testing.T) {
	var l lanes
	taken := make(map[identity.EntityID]bool)
	for range MaxLanes {
		one, err := l.take()
		if err != nil || taken[one.sender] {
			t.Fatalf("lane %d: %v, taken before: %v", len(taken), err, taken[one.sender])
		}
		taken[one.sender] = true
	}
	if _, err := l.take(); !errors.Is(err, ErrTooManySenders) {
		t.Errorf("one more: %v", err)
	}
	back := lane{sender: identity.EntityID{1}, number: 9}
	l.give(back)
	if got, err := l.take(); err != nil || got != back {
		t.Errorf("the lane that came back: %+v, %v", got, err)
	}
}
