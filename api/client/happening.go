package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"wasmhost.example/api"
)

// Happenings calls fn with what happens on the node from now on, and with all on the
// nodes that it trusts, until ctx ends, fn returns an error, or the node ends the stream,
// which is ErrUnreachable. It calls began, unless that is nil, when nothing that
// happens is missed any more.
func (c *Client) Happenings(ctx context.Context, all bool, began func(), fn func(api.Happening) error) error {
	return c.HappeningsSince(ctx, time.Time{}, all, began, fn)
}

// HappeningsSince is Happenings, after what the node still knows to have happened at since
// or later: the last thousand happenings since its start, at most. The zero time is from
// now on.
func (c *Client) HappeningsSince(ctx context.Context, since time.Time, all bool, began func(), fn func(api.Happening) error) error {
	q := url.Values{}
	if all {
		q.Set("all", "true")
	}

	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}

	path := "happenings"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}

	res, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}

	defer res.Close()
	if began != nil {
		began()
	}

	if err := eachLine(ctx, c, res, fn); err != nil {
		return err
	}
	return broken(ctx, io.EOF)
}
