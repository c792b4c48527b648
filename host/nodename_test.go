package host_test

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

func TestValidNodeName(t *testing.T) {
	good := []string{"a", "one", "node-1", "n_1", "host.example.org", "10.0.0.1", "deadbeef", "ALLEN", "3f2a91bc04de", strings.Repeat("a", 255), strings.Repeat("g", 16)}
	for _, name := range good {
		if err := host.ValidNodeName(name); err != nil {
			t.Errorf("ValidNodeName(%q) = %v, want nil", name, err)
		}
	}
	bad := []string{"", "all", "All", "a/b", "a,b", "-a", ".a", "a b", "a\x1b[31m", "a\n", "ü", "\u202ea", "a=b", "a:b", "*", "0123456789abcdef", "0123456789ABCDEF", strings.Repeat("0f", 32), strings.Repeat("a", 256), "a\x00"}
	for _, name := range bad {
		if err := host.ValidNodeName(name); !errors.Is(err, daemon.ErrBadName) {
			t.Errorf("ValidNodeName(%q) = %v, want ErrBadName", name, err)
		}
	}
}

func FuzzValidNodeName(f *testing.F) {
	for _, s := range []string{"a", "all", "0123456789abcdef", "a/b", "\x1b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if host.ValidNodeName(s) != nil {
			return
		}
		if strings.ContainsAny(s, "/,= \x00\x1b\n") || s == "all" || s == "" {
			t.Errorf("ValidNodeName(%q) = nil", s)
		}
	})
}
