package cli

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"wasmhost.example/api"
)

// evil is what a guest would write to a terminal.
const evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u009b31m\u202egnp.exe\u2066\u2028\r\x00\x7f"

func hurts(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || api.Misleads(r) && r != '\n' && r != '\t' {
			return true
		}
		b = b[n:]
	}
	return false
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext\n":                  "plain\ttext\n",
		"grüße 😀 é\n":                    "grüße 😀 é\n",
		"\x1b[31m":                       `\u001b[31m`,
		"\x9b\xff":                       `\x9b\xff`,
		"\u0085\u009b":                   `\u0085\u009b`,
		"\u202e\u2066\u200f\u061c\u2028": `\u202e\u2066\u200f\u061c\u2028`,
		"a\rb\x7f":                       `a\u000db\u007f`,
		"\U000e0041":                     `\udb40\udc41`,
		"half \xe2\x82":                  `half \xe2\x82`,
	} {
		for _, split := range []bool{false, true} {
			var out bytes.Buffer
			p := newPrintable(&out)
			var r io.Reader = strings.NewReader(text)
			if split {
				r = iotest.OneByteReader(r)
			}
			if _, err := io.Copy(struct{ io.Writer }{p}, r); err != nil {
				t.Fatal(err)
			}
			p.end()
			if out.String() != want {
				t.Errorf("%q, by bytes %v: %q, want %q", text, split, out.String(), want)
			}
		}
	}
	if got := OneLine("a\nb\tc\x1b"); got != `a\u000ab\u0009c\u001b` {
		t.Errorf("one line: %q", got)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{evil, "", "plain", "\xf0\x9f", "\u2029", "\U000e007f"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		at = min(max(at, 0), len(b))
		var out bytes.Buffer
		p := newPrintable(&out)
		for _, part := range [][]byte{b[:at], b[at:]} {
			if n, err := p.Write(part); n != len(part) || err != nil {
				t.Fatalf("%d of %d bytes: %v", n, len(part), err)
			}
		}
		p.end()
		if hurts(out.Bytes()) {
			t.Errorf("%q is printed as %q", b, out.Bytes())
		}
		if line := OneLine(string(b)); hurts([]byte(line)) || strings.ContainsAny(line, "\n\t") {
			t.Errorf("%q in a line is %q", b, line)
		}
	})
}

// A payload is shown as text on a terminal, and goes to a pipe as it is.
func TestPayloadsOnATerminal(t *testing.T) {
	write := func(out *os.File, format string) {
		t.Helper()
		a := &App{Out: newPrintable(out), Format: format}
		if _, err := io.WriteString(a.Payloads(), evil+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(a.Out, evil+"\n"); err != nil {
			t.Fatal(err)
		}
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	write(w, "table")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := bytes.CutPrefix(got, []byte(evil+"\n")); !ok || hurts(text) {
		t.Errorf("to a pipe: %q; want the payload as it is, and the text escaped", got)
	}

	ours, theirs := openTerminal(t)
	write(theirs, "table")
	shown := make([]byte, 4096)
	n, err := ours.Read(shown)
	if err != nil {
		t.Fatal(err)
	}
	if shown = bytes.ReplaceAll(shown[:n], []byte("\r\n"), []byte("\n")); hurts(shown) || !bytes.Contains(shown, []byte(`\u001b]0;owned\u0007`)) {
		t.Errorf("on a terminal: %q", shown)
	}
}
