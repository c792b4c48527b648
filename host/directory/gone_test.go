package directory

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"wasmhost.example/identity"
)

func FuzzDecodeRemoval(f *testing.F) {
	key, err := identity.Generate()
	if err != nil {
		f.Fatal(err)
	}
	r := Removal{Entity: key.ID(), Epoch: 3, Time: time.Unix(7, 8)}
	unsigned, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(unsigned)
	if err := r.Sign(key); err != nil {
		f.Fatal(err)
	}
	signed, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(signed[:len(signed)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRemoval(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}

// TestARemovalIsSignedByItsDaemon changes each thing that a removal's signature covers.
func TestARemovalIsSignedByItsDaemon(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	r := Removal{Entity: key.ID(), Epoch: 3, Time: time.Unix(7, 8)}
	if r.Signed() {
		t.Error("a removal without a signature counts as signed")
	}
	if err := r.Sign(key); err != nil {
		t.Fatal(err)
	}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := decodeRemoval(b)
	if err != nil || !read.Signed() {
		t.Fatalf("as it is read it is %+v, %v", read, err)
	}
	for what, change := range map[string]func(*Removal){
		"another daemon": func(r *Removal) { r.Entity = someKey(t) },
		"another epoch":  func(r *Removal) { r.Epoch++ },
		"another time":   func(r *Removal) { r.Time = r.Time.Add(1) },
		"a cut":          func(r *Removal) { r.Signature = r.Signature[:63] },
	} {
		other := read
		change(&other)
		if other.Signed() {
			t.Errorf("with %s it counts as signed", what)
		}
	}
}

// TestANodeRemovesItsOwnDaemonOnly has a node without a vote write removals through a
// guard.
func TestANodeRemovesItsOwnDaemonOnly(t *testing.T) {
	r := newRuled(t)
	self := r.self.id()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	d := Daemon{Entity: key.ID(), Name: "mine", Owner: self, Epoch: 4}
	r.put(daemonKey(d.Entity), r.daemon(d))
	conditions := []Condition{{sessionKey(self), r.session}, {daemonKey(d.Entity), r.at(daemonKey(d.Entity))}}
	removal := func(change func(*Removal)) Write {
		t.Helper()
		v := Removal{Entity: d.Entity, Epoch: d.Epoch, Time: time.Unix(1, 0)}
		if err := v.Sign(key); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&v)
		}
		return Write{goneKey(d.Entity), must[[]byte](t)(v.encode())}
	}
	commit := func(writes ...Write) error {
		_, err := r.guard.Commit(t.Context(), r.self, conditions, writes)
		return err
	}
	gone := Write{Key: daemonKey(d.Entity)}
	if err := commit(removal(nil)); !errors.Is(err, ErrDenied) {
		t.Errorf("a removal of a daemon that stays: got %v, want ErrDenied", err)
	}
	if err := commit(gone, removal(func(r *Removal) { r.Signature[0] ^= 1 })); !errors.Is(err, ErrDenied) {
		t.Errorf("a signature that does not hold: got %v, want ErrDenied", err)
	}
	if err := commit(gone, removal(func(r *Removal) { r.Epoch = 9 })); !errors.Is(err, ErrMalformed) {
		t.Errorf("another epoch: got %v, want ErrMalformed", err)
	}
	if err := commit(gone, Write{Key: goneKey(d.Entity)}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a removal that is removed: got %v, want ErrMalformed", err)
	}
	if err := commit(gone, removal(nil)); err != nil {
		t.Errorf("its own: %v", err)
	}
}
