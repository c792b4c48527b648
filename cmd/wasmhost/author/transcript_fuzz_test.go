package author

import (
	"bytes"
	"strings"
	"testing"
)

// What is read as a transcript is written as one that is read alike.
func FuzzTranscript(f *testing.F) {
	for _, seed := range []string{
		`{"config":"x","time":"2027-01-01T00:00:00Z"}` + "\n" + `{"text":"a","outputs":[{"text":"1"},{"payload":"/w=="}]}`,
		`{"kind":"timer","effects":[{"effect":"publish","channel":"news","text":"tea"},{"effect":"cancel","timer":4096}]}`,
		`{"text":"","fails":{"problem":"guest-failed","code":1,"text":"an empty event"}}`,
		`{"payload":"AAAAAAAAAAAAAAAAAAAAAA==","kind":"gap","channel":"news"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := parseTranscript(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out strings.Builder
		for i := range lines {
			out.WriteString(lines[i].String() + "\n")
		}
		again, err := parseTranscript(strings.NewReader(out.String()))
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, out.String(), err)
		}
		if len(again) != len(lines) {
			t.Fatalf("%d lines were written as %d", len(lines), len(again))
		}
		for i := range lines {
			if lines[i].String() != again[i].String() {
				t.Fatalf("line %d is %s, was written as %s", i+1, &again[i], &lines[i])
			}
		}
	})
}
