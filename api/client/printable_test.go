package client

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func printableOf(t testing.TB, in []byte, split bool) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(in)
	if split {
		r = iotest.OneByteReader(r)
	}
	out, err := io.ReadAll(&printableJSON{r: r})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPrintableJSON(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                 "plain",
		"a\nerror: b":           `a\nerror: b`,
		"a\tb\rc\bd\fe":         `a\tb\rc\bd\fe`,
		"\x1b]0;owned\x07":      `\u001b]0;owned\u0007`,
		`back\slash "quoted" /`: `back\slash "quoted" /`,
		`already \n`:            `already \n`,
		"<&>":                   "<&>",
		"\u2028\u2029":          `\u2028\u2029`,
		"😀 ü":                   "😀 ü",
	} {
		in, err := json.Marshal(map[string]string{"x": text})
		if err != nil {
			t.Fatal(err)
		}
		for _, split := range []bool{false, true} {
			var got map[string]string
			if err := json.Unmarshal(printableOf(t, in, split), &got); err != nil || got["x"] != want {
				t.Errorf("%q is shown as %q, want %q (%v)", text, got["x"], want, err)
			}
		}
	}
}

func FuzzPrintableJSON(f *testing.F) {
	for _, s := range []string{"", "x", "\n", "\x1b[31m", `\`, `"`, "\u202e", "\u0085", "\x00\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		whole := printableOf(t, in, false)
		if split := printableOf(t, in, true); !bytes.Equal(whole, split) {
			t.Fatalf("%q: %q, by bytes %q", text, whole, split)
		}
		var got string
		if err := json.Unmarshal(whole, &got); err != nil {
			t.Fatalf("%q became %q: %v", text, whole, err)
		}
		if strings.ContainsAny(got, "\n\r\t\x1b\x00\u2028") {
			t.Fatalf("%q is shown as %q", text, got)
		}
	})
}
