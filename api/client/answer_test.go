package client

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"wasmhost.example/api"
)

// endless answers every request with a text again and again, after a beginning.
type endless struct {
	begin, again string
	next         string // the Link header; empty: none
	asked        int
}

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked++
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: io.NopCloser(io.MultiReader(strings.NewReader(e.begin), &repeated{text: e.again}))}
	if e.next != "" {
		res.Header.Set("Link", "<"+e.next+`>; rel="next"`)
	}
	return res, nil
}

type repeated struct{ text, left string }

func (r *repeated) Read(b []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	if r.left == "" {
		r.left = r.text
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// TestANodesAnswersAreBounded has a node answer without an end, in each way that a client reads.
func TestANodesAnswersAreBounded(t *testing.T) {
	client := func(e *endless) *Client {
		return New(e).Reading(64 << 10)
	}
	name := func(c *Client) error { _, err := c.Daemons().Get(t.Context(), "d"); return err }
	for _, c := range []struct {
		what string
		node endless
		ask  func(*Client) error
	}{
		{"one value", endless{begin: `{"name":"`, again: "x"}, name},
		{"blanks before a value", endless{again: " "}, name},
		{"a list", endless{begin: "[", again: `{"name":"d"},`}, func(c *Client) error { _, err := c.Daemons().List(t.Context(), false); return err }},
		{"a list of nothing", endless{begin: "[{}", again: ",{}"}, func(c *Client) error { _, err := c.Daemons().List(t.Context(), false); return err }},
		{"pages", endless{begin: `[{"name":"d"}]`, next: "/v1/daemons?after=eA"}, func(c *Client) error { _, err := c.Daemons().List(t.Context(), false); return err }},
		{"receipts", endless{begin: "[", again: `{"epoch":2},`}, func(c *Client) error { _, err := c.Daemons().Receipts(t.Context(), "d"); return err }},
		{"a kind that was pushed", endless{begin: `{"name":"`, again: "x"}, func(c *Client) error {
			_, err := c.Kinds().Push(t.Context(), "k", strings.NewReader(""))
			return err
		}},
		{"a daemon that was restored", endless{begin: `{"name":"`, again: "x"}, func(c *Client) error {
			_, err := c.Daemons().Restore(t.Context(), strings.NewReader(""), "", "", nil)
			return err
		}},
		{"a line", endless{begin: `{"text":"`, again: "x"}, func(c *Client) error {
			return c.Channels().Follow(t.Context(), "c", AtNode{}, "", func(api.ChannelEvent) error { return nil })
		}},
	} {
		if err := c.ask(client(&c.node)); !errors.Is(err, ErrAnswerTooLarge) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestLinesAreBoundedEach reads more lines than one answer may have bytes.
func TestLinesAreBoundedEach(t *testing.T) {
	const line = `{"sequence":1}` + "\n"
	c, lines := New(&endless{again: line}).Reading(64<<10), 0
	enough := errors.New("enough")
	err := c.Channels().Follow(t.Context(), "c", AtNode{}, "", func(api.ChannelEvent) error {
		if lines++; lines*len(line) > 4<<20 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("after %d lines: %v", lines, err)
	}
}
