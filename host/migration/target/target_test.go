package target

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

var offered = migration.Offer{Version: migration.PlainVersion, Migration: migration.ID{1}, Entity: identity.EntityID{2}, Name: "d", Kind: "k",
	Module: bytes.Repeat([]byte{3}, 32), ModuleSize: 4, Epoch: 5, Identity: true, History: 6}

func TestWhatIsKeptIsReadAgain(t *testing.T) {
	for _, named := range []bool{false, true} {
		want := &Kept{From: 7, Offer: offered, Named: named}
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeKept(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("named %v: %+v, %v; want %+v", named, got, err, want)
		}
	}
}

func FuzzDecodeKept(f *testing.F) {
	for _, named := range []bool{false, true} {
		b, err := (&Kept{From: 7, Offer: offered, Named: named}).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := DecodeKept(b)
		if err != nil {
			return
		}
		again, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeKept(again); err != nil || back.From != k.From || back.Named != k.Named || back.Offer.Entity != k.Offer.Entity {
			t.Errorf("%+v, %v; want %+v", back, err, k)
		}
	})
}

func TestAPeerTakesItsShareOfTheRoom(t *testing.T) {
	room := NewRoom(daemon.DefaultLimits)
	whole := int(room.Use().Limit / 2)
	var a, b, c Share
	a.Of(room, 1)
	b.Of(room, 1)
	c.Of(room, 2)
	full := &migration.Error{Code: migration.BufferFull}
	if err := errors.Join(a.Grow(whole-1), b.Grow(1), c.Grow(whole)); err != nil {
		t.Fatal(err)
	}
	if err := b.Grow(1); !errors.Is(err, full) {
		t.Errorf("beyond a peer's share: %v", err)
	}

	a.Shrink(1)
	if err := b.Grow(1); err != nil {
		t.Errorf("what was given back is not to be had: %v", err)
	}
	a.End()
	a.End()
	if err := a.Grow(1); !errors.Is(err, ErrPushedOut) {
		t.Errorf("after the end: %v", err)
	}
	b.End()
	c.End()
	if use := room.Use(); use.Used != 0 {
		t.Errorf("%d bytes are taken at the end", use.Used)
	}
}
