package client

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"wasmhost.example/api"
)

// Printable returns a client that shows the texts of all that the node answers in JSON as
// a table can print them: what misleads, ends of lines and tabs too, is there as an escape
// (\n, \u001b). A Gate of it passes everything on as it is.
func (c *Client) Printable() *Client {
	out := *c
	out.http = &http.Client{Transport: printableTransport{c.http.Transport}}
	return &out
}

type printableTransport struct{ http.RoundTripper }

func (t printableTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.RoundTripper.RoundTrip(r)
	if err == nil && strings.Contains(res.Header.Get("Content-Type"), "json") {
		res.Body = &printableJSON{r: res.Body, c: res.Body}
		res.ContentLength = -1
	}
	return res, err
}

// printableJSON is JSON whose texts show the escapes of what misleads: it escapes the
// backslashes of these escapes.
type printableJSON struct {
	r io.Reader
	c io.Closer

	escape []byte // the beginning of one, from its backslash on
	out    []byte // to be read
	buf    [4096]byte
}

// Close implements io.Closer.
func (p *printableJSON) Close() error { return p.c.Close() }

// Read implements io.Reader.
func (p *printableJSON) Read(b []byte) (int, error) {
	var err error
	for len(p.out) == 0 && err == nil && len(b) > 0 {
		var n int
		n, err = p.r.Read(p.buf[:])
		p.out = p.out[:0]
		for _, c := range p.buf[:n] {
			p.take(c)
		}

		if err != nil {
			p.out = append(p.out, p.escape...) // it is cut off: the decoder says so
			p.escape = nil
		}
	}

	n := copy(b, p.out)
	p.out = p.out[n:]
	if len(p.out) > 0 {
		err = nil
	}
	return n, err
}

func (p *printableJSON) take(c byte) {
	if len(p.escape) == 0 {
		if c == '\\' {
			p.escape = append(p.escape, c)
			return
		}
		p.out = append(p.out, c)
		return
	}

	p.escape = append(p.escape, c)
	switch kind := p.escape[1]; {
	case kind == 'u' && len(p.escape) < 6:
		return
	case kind == 'u':
		if r, err := strconv.ParseUint(string(p.escape[2:]), 16, 32); err == nil && api.Misleads(rune(r)) {
			p.out = append(p.out, '\\')
		}

	case strings.IndexByte("bfnrt", kind) >= 0:
		p.out = append(p.out, '\\')
	}

	p.out = append(p.out, p.escape...)
	p.escape = p.escape[:0]
}
