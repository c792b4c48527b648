package registry_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
)

func TestModuleSignatureIsOfOneModuleByOneKey(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	digest, other := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	sig, err := registry.SignModule(key, digest)
	if err != nil {
		t.Fatal(err)
	}
	read, err := registry.ParseModuleSignature(" " + sig.String() + "\n")
	if err != nil || read.Key != key.ID() || read.Verify(digest) != nil {
		t.Fatalf("it is read back as %+v, %v", read, err)
	}
	if err := read.Verify(other); !errors.Is(err, registry.ErrBadSignature) {
		t.Errorf("of another module: %v", err)
	}
	bent := read
	bent.Key[0] ^= 1
	if err := bent.Verify(digest); !errors.Is(err, registry.ErrBadSignature) {
		t.Errorf("by another key: %v", err)
	}
	plain, err := key.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	bent = read
	bent.Signature = plain
	if err := bent.Verify(digest); !errors.Is(err, registry.ErrBadSignature) {
		t.Errorf("of a signature for something else: %v", err)
	}
	text := sig.String()
	for _, bad := range []string{"", "whs1.", text[1:], text + "A", text[:len(text)-2], strings.Repeat(text, 3), "whs2." + text[5:]} {
		if _, err := registry.ParseModuleSignature(bad); !errors.Is(err, registry.ErrBadSignature) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseModuleSignature(f *testing.F) {
	key, err := identity.Generate()
	if err != nil {
		f.Fatal(err)
	}
	sig, err := registry.SignModule(key, sha256.Sum256(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig.String())
	f.Add("whs1.")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := registry.ParseModuleSignature(text)
		if err != nil {
			return
		}
		again, err := registry.ParseModuleSignature(s.String())
		if err != nil || again.Key != s.Key || string(again.Signature) != string(s.Signature) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", text, s, again, err)
		}
	})
}
