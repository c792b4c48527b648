package standby

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

func some(t testing.TB) []Message {
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return []Message{&Follow{Version: Version, Entity: k.ID(), Epoch: 3, Disk: true, Module: make([]byte, 32)}, &Have{Next: 4, Sum: make([]byte, 32)}, &Have{Sum: []byte{}, NeedModule: true},
		&Refuse{Epoch: 4, Text: "no"}, &Module{Bytes: []byte("code"), Last: true}, &Reset{}, &Record{Bytes: []byte("record")},
		&Batch{Number: 7, Parts: []store.Part{{Table: 'h', Kind: 's', Key: make([]byte, 8), Value: []byte("v")}}}, &Held{Number: 7}, &Compare{Version: Proving, Entity: k.ID(), Epoch: 3, Next: 4, Sum: make([]byte, 32), Nonce: make([]byte, NonceSize)}, &Stands{Epoch: 3, Next: 5, Sum: make([]byte, 32), At: make([]byte, 32), Sound: true, Proof: []byte("proof")}, &Stands{Sum: []byte{}, At: []byte{}, Proof: []byte{}}, &Proof{Bytes: []byte("proof")}, &File{Digest: make([]byte, 32), Bytes: []byte("state"), Last: true},
		&State{Parts: []HeldPart{{Table: 's', Key: []byte{}, Sum: make([]byte, 32)}, {Table: 'e', Key: make([]byte, 4), Sum: make([]byte, 32)}}}, &State{Parts: []HeldPart{}}}
}

func FuzzDecode(f *testing.F) {
	for _, m := range some(f) {
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
				t.Errorf("%v is no ErrBadMessage", err)
			}
			return
		}
		again, err := Encode(nil, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read, and written as %x, %v", b, again, err)
		}
	})
}

func TestMessagesOutOfBoundsAreRefused(t *testing.T) {
	for _, m := range []Message{&Follow{Epoch: 1}, &Have{Next: 1}, &Have{Sum: make([]byte, 32)}, &Refuse{Text: string(make([]byte, 5000))}, &Compare{Epoch: 1}, &Stands{Next: 1}, &Stands{At: make([]byte, 31)}, &Proof{Bytes: make([]byte, MaxProof+1)}, &File{Digest: make([]byte, 31)},
		&File{Digest: make([]byte, 32), Bytes: make([]byte, Chunk+1)}, &State{Parts: make([]HeldPart, 1)}, &State{Parts: []HeldPart{{Table: 's', Key: make([]byte, 17), Sum: make([]byte, 32)}}}, &State{Parts: []HeldPart{{Table: 'h', Sum: make([]byte, 32)}}},
		&State{Parts: slices.Repeat([]HeldPart{{Table: 's', Sum: make([]byte, 32)}}, MaxHeld+1)}} {
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%T: %v", m, err)
		}
	}
}
