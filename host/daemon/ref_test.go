package daemon_test

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

func TestParseRef(t *testing.T) {
	origin, key := strings.Repeat("0f", 8), strings.Repeat("0F", 32)
	for _, text := range []string{"a", "aac2", origin[:15], origin + "0", "name:" + origin, "name:" + key, "name:a", "id:" + origin, "id:" + key, "a.b-c_d"} {
		if r, err := daemon.ParseRef(text); err != nil || r.String() != text {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "name:", "id:", "id:a", "id:" + origin[:15], "id:" + strings.Repeat("g", 16), "a\nb", "\x1b[1m", "\xff", strings.Repeat("a", 261)} {
		if _, err := daemon.ParseRef(text); !errors.Is(err, daemon.ErrBadRef) {
			t.Errorf("%q: %v, want ErrBadRef", text, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, text := range []string{"", "c1", "aac2", "name:c1", "id:0123456789abcdef", "0123456789abcdef", strings.Repeat("5a", 32), "id:x", "name:id:0123456789abcdef", "\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := daemon.ParseRef(text)
		if err != nil {
			if !errors.Is(err, daemon.ErrBadRef) {
				t.Fatalf("%q: %v, which is not ErrBadRef", text, err)
			}
			return
		}
		again, err := daemon.ParseRef(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: parsed again it is %v, %v", text, again, err)
		}
		if daemon.LooksLikeID(text) && r.Names(identity.EntityID{}, text) != r.Names(identity.EntityID{}, "") {
			t.Fatalf("%q is taken for a name", text)
		}
	})
}
