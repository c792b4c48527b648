package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf16"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/render"
)

// What guests, peers and files say is shown on terminals. Everything that a command
// prints passes a printable, so that no text moves the cursor, colours, renames the
// window or turns lines around. Payloads alone go to a pipe or file as they are
// (app.payloads).

// printable is a writer that writes control characters, those that change the direction
// of text, separators of lines other than \n, and what is no UTF-8, as escapes: \u001b,
// \x9b. In JSON that is the same text. It is safe for concurrent use.
type printable struct {
	to    io.Writer
	spoke *atomic.Bool // set when something is written; nil: nobody asks

	mu   sync.Mutex
	part []byte // the beginning of a character
	buf  []byte
}

func newPrintable(to io.Writer) *printable { return &printable{to: to} }

// Write implements io.Writer.
func (p *printable) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spoke != nil {
		p.spoke.Store(true)
	}

	all := b
	if len(p.part) > 0 {
		all = append(p.part, b...)
	}
	p.buf, p.part = p.buf[:0], nil
	for len(all) > 0 {
		if !utf8.FullRune(all) {
			p.part = append([]byte(nil), all...)
			break
		}
		r, n := utf8.DecodeRune(all)
		p.buf = appendPrintable(p.buf, r, all[:n], "\n\t")
		all = all[n:]
	}
	if _, err := p.to.Write(p.buf); err != nil {
		return 0, err
	}
	return len(b), nil
}

// end writes the beginning of a character that was left.
func (p *printable) end() {
	if !p.mu.TryLock() {
		return // somebody still writes, to where nobody reads
	}
	defer p.mu.Unlock()
	for _, b := range p.part {
		fmt.Fprintf(p.to, `\x%02x`, b)
	}
	p.part = nil
}

// appendPrintable appends r, which b encodes, or its escape. Those in keep are kept.
func appendPrintable(out []byte, r rune, b []byte, keep string) []byte {
	switch {
	case r == utf8.RuneError && len(b) == 1:
		return fmt.Appendf(out, `\x%02x`, b[0])
	case !api.Misleads(r), strings.ContainsRune(keep, r):
		return append(out, b...)
	case r > 0xffff:
		one, two := utf16.EncodeRune(r)
		return fmt.Appendf(out, `\u%04x\u%04x`, one, two)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}

// OneLine returns text with escapes for all that misleads, the ends of lines and tabs
// too: it stays one cell of a table.
func OneLine(text string) string {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			var out []byte
			for b := []byte(text); len(b) > 0; {
				r, n := utf8.DecodeRune(b)
				out = appendPrintable(out, r, b[:n], "")
				b = b[n:]
			}
			return string(out)
		}
	}
	return text
}

// Bare is what w writes to: for what a command draws on a terminal by itself.
func Bare(w io.Writer) io.Writer {
	if r, ok := w.(*render.Writer); ok {
		w = r.To()
	}
	if p, ok := w.(*printable); ok {
		return p.to
	}
	return w
}

// IsTerminal reports whether what is written to w is seen on a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := Bare(w).(*os.File)
	return ok && terminal(f)
}

// Payloads is where outputs go as bytes: a terminal shows them as text.
func (a *App) Payloads() io.Writer {
	if a.Format == "json" || a.Format == "jsonl" || IsTerminal(a.Out) {
		return a.Out
	}
	return Bare(a.Out)
}

// endOutput writes what output still waits for the end of a character.
func (a *App) endOutput() {
	out := a.Out
	if a.rendered != nil {
		out = a.rendered.To()
	}
	for _, w := range []io.Writer{out, a.Err} {
		if p, ok := w.(*printable); ok {
			p.end()
		}
	}
}
