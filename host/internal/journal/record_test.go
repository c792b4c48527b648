package journal

import (
	"bytes"
	"testing"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// What is encoded by hand, for speed, is what the one encoder would write.
func TestHandEncodingIsCanonical(t *testing.T) {
	for _, n := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
		l := chain.Link{Origin: identity.EntityID{1, 2}, Epoch: n, Sequence: n, Parent: chain.Hash{3}, Horizon: n}
		want, err := canon.Marshal(&l)
		if err != nil || !bytes.Equal(l.Bytes(), want) {
			t.Errorf("link with %d: %x, %v; want %x", n, l.Bytes(), err, want)
		}
		payload := bytes.Repeat([]byte{9}, int(n%70000))
		want, err = canon.Marshal([]any{&l, payload})
		if got := l.AppendTo([]byte{0x82}, payload); err != nil || !bytes.Equal(got, want) {
			t.Errorf("event with %d: %v", n, err)
		}
		e := &Event{Sender: identity.EntityID{4}, Number: n, Time: int64(n), Channel: "ch", Payload: payload, Applied: n, Before: l, Parent: chain.Hash{5},
			Epoch: n, Outputs: [][]byte{{}, payload}}
		want, err = canon.Append([]byte{e.tag()}, e)
		if err != nil || !bytes.Equal(e.Encode(), want) {
			t.Errorf("record with %d: %v", n, err)
		}
		for _, from := range []identity.EntityID{{}, {8}} {
			e := *e
			e.Kind, e.From = daemon.EventGap, from
			c := &channelEvent{Sender: e.Sender, Number: e.Number, Time: e.Time, Channel: e.Channel, Payload: e.Payload, Applied: e.Applied,
				Before: e.Before, Parent: e.Parent, Epoch: e.Epoch, Outputs: e.Outputs, Kind: e.Kind}
			if !from.IsZero() {
				c.From = from[:]
			}
			want, err := canon.Append([]byte{9}, c)
			if err != nil || !bytes.Equal(e.Encode(), want) {
				t.Errorf("channel's record with %d: %v", n, err)
			}
			if got, ok := ReadEvent(want); ok != (int64(n) >= 0) || ok && (!bytes.Equal(got.Encode(), want) || got.From != from) {
				t.Errorf("channel's record with %d reads back as %+v, %v", n, got, ok)
			}
			if got, err := Decode(want); err != nil || !bytes.Equal(got.(*Event).Encode(), want) {
				t.Errorf("channel's record with %d decodes to %+v, %v", n, got, err)
			}
		}
		if n <= 1<<63 {
			got, ok := ReadEvent(want)
			if ok != (int64(n) >= 0) || ok && !bytes.Equal(got.Encode(), want) {
				t.Errorf("record with %d reads back as %+v, %v", n, got, ok)
			}
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []Record{&Begin{Kind: "k"}, &Event{Payload: []byte("x"), Outputs: [][]byte{{1}}}, &Failure{Text: "no"},
		&Checkpoint{}, &Move{Epoch: 2}, &Event{Kind: daemon.EventChannel, From: identity.EntityID{7}, Channel: "a"}, &Event{Kind: daemon.EventGap},
		&Bind{Binding: channel.Binding{Channel: "a"}}, &Unbind{}, &Sent{Lost: "no"}, &Halt{Stopped: true},
		&Event{Kind: daemon.EventDaemon, From: identity.EntityID{7}, SenderEpoch: 3},
		&Event{Kind: daemon.EventAsk, From: identity.EntityID{7}, SenderEpoch: 3}, &Event{Kind: daemon.ReplyKind(effect.Forked), From: identity.EntityID{7}, Number: 9},
		&Failure{Event: daemon.ReplyKind(effect.TimedOut), Number: 3}, &Replied{To: identity.EntityID{7}, Number: 4, Lost: "gone"}, &Failure{Event: daemon.EventTimer, Number: 3},
		&Event{Effects: []effect.Effect{{Kind: effect.Publish, Channel: "a"}, {Kind: effect.Send, To: identity.EntityID{3}, Payload: []byte("x")}, {Kind: effect.Timer, At: 3}}},
		&Grant{Grants: effect.Grants{SendAny: true, Publish: []effect.PublishGrant{{Node: 3, Pattern: "*"}}}}} {
		b, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		if e, ok := ReadEvent(b); ok {
			strict := &Event{}
			err := canon.Unmarshal(b[1:], strict)
			if e.Kind != daemon.EventDirect {
				c := &channelEvent{}
				if err = canon.Unmarshal(b[1:], c); err == nil {
					strict, err = c.event()
				}
			}
			if err != nil || !bytes.Equal(strict.Encode(), e.Encode()) {
				t.Errorf("%x is read as %+v, and strictly as %+v, %v", b, e, strict, err)
			}
		}
		if again, err := Encode(r); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
	})
}
