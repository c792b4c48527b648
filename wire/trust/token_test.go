package trust

import (
	"strings"
	"testing"
)

func FuzzParseToken(f *testing.F) {
	f.Add((&Token{Version: 1, Addr: "127.0.0.1:1", Secret: make([]byte, 32), Expires: 1}).String())
	f.Add("wh1.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if tok, err := ParseToken(text); err == nil && tok.String() != strings.TrimSpace(text) {
			t.Errorf("%q has two forms", text)
		}
	})
}
