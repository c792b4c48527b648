package channel

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/identity"
)

func messages(t testing.TB) []Message {
	entity := key(t, 1).ID()
	return []Message{
		&Open{Version: Version, Channel: "a/b"},
		&Subscribe{Entity: entity, Token: []byte("t"), Residence: []byte("r"), Source: entity, After: 9},
		&Subscribe{Entity: entity, Token: []byte{}, Residence: []byte{}},
		&Accepted{Entity: entity, Source: entity, After: 3, Next: 4, Expires: 1e9},
		&Refused{Entity: entity, Code: CodeOf(identity.ErrTokenExpired), Text: "it has expired"},
		&Unsubscribe{Entity: entity}, &Released{Entity: entity},
		&Events{First: 1, Head: 300, Bytes: AppendEvent(nil, 1, entity, []byte("x"))},
		&Gap{From: 1, To: 1}, &Moved{Node: 7},
		&Cursors{List: []Cursor{{Entity: entity, Sequence: 1}}},
		&Fetch{Version: Version, Channel: "a", Entity: entity, After: 1, Until: 2},
		&Publish{Version: Version, Channel: "a", From: entity, Token: []byte("t"), Residence: []byte("r"), Payloads: [][]byte{{1}, {}}},
		&Published{First: 1},
		&Window{Bytes: 5},
		&Revocations{List: [][]byte{{1}}},
		&Carry{Version: Version, From: entity, Channel: "a/b", Token: []byte("t"), Residence: []byte("r"), Effects: []Carriage{{Epoch: 1, Number: 2, Payload: []byte("x")}, {Epoch: 2, Number: 1, Payload: []byte{}}}},
		&Carry{Version: Version, From: entity, To: entity, Token: []byte{}, Residence: []byte{}, Effects: []Carriage{{Payload: []byte{}}}},
		&Carried{Epoch: 1, Number: 2}, &Locate{Version: Version, Entity: identity.EntityID{1}, Nonce: make([]byte, NonceBytes)}, &Located{Statement: []byte("s")},
		&Standings{Version: Version, Daemons: []Standing{{Entity: identity.EntityID{1}, Node: 2, Epoch: 3, Index: 4}}}, &Further{Daemons: []Standing{{Entity: identity.EntityID{1}, Node: 2, Epoch: 3}}},
		&Testify{Version: Version, Entity: identity.EntityID{1}, Epoch: 2, Sequence: 3}, &Testified{Statement: []byte("s")},
		&Calls{Carry: Carry{Version: Version, From: entity, To: entity, Token: []byte{}, Residence: []byte("r"), Effects: []Carriage{{Epoch: 1, Number: 2, Payload: []byte("x")}, {Epoch: 1, Number: 3, Payload: []byte("?")}}}, Calls: []uint16{1}},
		&Replies{Version: Version, From: entity, Residence: []byte("r"), To: entity, List: []Reply{{Epoch: 1, Number: 1, CallEpoch: 2, Call: 4096, Payload: []byte("9")}, {Epoch: 1, Number: 2, CallEpoch: 2, Call: 4097, Status: 3, Payload: []byte{}}}},
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range messages(t) {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || fmt.Sprintf("%T%v", got, got) != fmt.Sprintf("%T%v", m, m) {
			t.Errorf("%T: %v: %v, not %v", m, err, got, m)
		}
		if _, err := Decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%T with a byte more: %v", m, err)
		}
		for i := range b {
			if _, err := Decode(b[:i]); !errors.Is(err, ErrBadMessage) {
				t.Errorf("%T cut to %d: %v", m, i, err)
			}
		}
	}
}

func TestC36_MalformedMessages(t *testing.T) {
	entity := key(t, 1).ID()
	for name, m := range map[string]Message{
		"another version":          &Open{Version: 2, Channel: "a"},
		"an empty name":            &Open{Version: Version},
		"a bad name":               &Open{Version: Version, Channel: "A"},
		"a long name":              &Open{Version: Version, Channel: string(bytes.Repeat([]byte{'a'}, 256))},
		"a long token":             &Subscribe{Entity: entity, Token: make([]byte, MaxTokenBytes+1)},
		"a long residence":         &Subscribe{Entity: entity, Residence: make([]byte, maxResident+1)},
		"a far cursor":             &Subscribe{Entity: entity, After: sequenceLimit},
		"no source":                &Accepted{Entity: entity, Next: 1},
		"no next":                  &Accepted{Entity: entity, Source: entity},
		"calls to a channel":       &Calls{Carry: Carry{Version: Version, From: entity, Channel: "a", Effects: []Carriage{{}}}, Calls: []uint16{0}},
		"no calls":                 &Calls{Carry: Carry{Version: Version, From: entity, To: entity, Effects: []Carriage{{}}}},
		"a call beyond effects":    &Calls{Carry: Carry{Version: Version, From: entity, To: entity, Effects: []Carriage{{}}}, Calls: []uint16{1}},
		"a call twice":             &Calls{Carry: Carry{Version: Version, From: entity, To: entity, Effects: []Carriage{{}}}, Calls: []uint16{0, 0}},
		"calls of another version": &Calls{Carry: Carry{Version: 2, From: entity, To: entity, Effects: []Carriage{{}}}, Calls: []uint16{0}},
		"replies of nobody":        &Replies{Version: Version, To: entity, List: []Reply{{Number: 1, Call: 1}}},
		"no replies":               &Replies{Version: Version, From: entity, To: entity},
		"a reply to no call":       &Replies{Version: Version, From: entity, To: entity, List: []Reply{{Number: 1}}},
		"a reply that timed out":   &Replies{Version: Version, From: entity, To: entity, List: []Reply{{Number: 1, Call: 1, Status: MaxReplyStatus + 1}}},
		"a reply twice":            &Replies{Version: Version, From: entity, To: entity, List: []Reply{{Number: 1, Call: 1}, {Number: 1, Call: 2}}},
		"a large reply":            &Replies{Version: Version, From: entity, To: entity, List: []Reply{{Number: 1, Call: 1, Payload: make([]byte, MaxPayload+1)}}},
		"a wide window":            &Window{Bytes: 1 << 33},
		"an unknown code":          &Refused{Code: Code(len(codes))},
		"a long text":              &Refused{Text: string(make([]byte, MaxText+1))},
		"event 0":                  &Events{First: 0, Head: 1},
		"a gap backwards":          &Gap{From: 3, To: 2},
		"a gap from 0":             &Gap{From: 0, To: 2},
		"fetching nothing":         &Fetch{Version: Version, Channel: "a", After: 2, Until: 2},
		"publishing nothing":       &Publish{Version: Version, Channel: "a"},
		"published nothing":        &Published{},
		"too many to publish":      &Publish{Version: Version, Channel: "a", Payloads: make([][]byte, MaxPublish+1)},
		"a large event":            &Publish{Version: Version, Channel: "a", Payloads: [][]byte{make([]byte, MaxPayload+1)}},
		"many cursors":             &Cursors{List: make([]Cursor, MaxCursors+1)},
		"many revocations":         &Revocations{List: make([][]byte, MaxRevoke+1)},
	} {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "an unknown kind": {99, 0x80}, "a flag that is none": {3, 0x83, 1, 2, 3}, "large": make([]byte, MaxMessage+1)} {
		if _, err := Decode(b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCodesKeepTheirErrors(t *testing.T) {
	for i, e := range codes {
		r := Refuse(identity.EntityID{}, fmt.Errorf("doing: %w", e))
		if int(r.Code) != i || !errors.Is(&Refusal{r.Code, r.Text}, e) {
			t.Errorf("code %d became %d", i, r.Code)
		}
	}
	if got := Refuse(identity.EntityID{}, errors.New(string(bytes.Repeat([]byte("ä"), MaxText)))); got.Code != 0 || len(got.Text) > MaxText {
		t.Errorf("code %d, %d bytes", got.Code, len(got.Text))
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages(f) {
		b, err := Encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrBadMessage) {
				t.Fatalf("an error of no class: %v", err)
			}
			return
		}
		again, err := Encode(nil, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x: %v", b, again, err)
		}
	})
}

func FuzzEach(f *testing.F) {
	f.Add(AppendEvent(AppendEvent(nil, 1, identity.EntityID{}, []byte("x")), 2, identity.EntityID{1}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := Each(1, b, func(ev Event) error {
			again = AppendEvent(again, ev.Time, ev.From, ev.Payload)
			return nil
		})
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}

func TestWhatIsBroughtIsWhatWasSent(t *testing.T) {
	for _, m := range messages(t) {
		c, ok := Brought(m)
		if _, carry := m.(*Carry); !ok {
			if carry {
				t.Errorf("%T brings nothing", m)
			}
			continue
		}
		want, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Encode(nil, c.Message())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%T: got %x, %v, want %x", m, got, err, want)
		}
	}
}
