package client

import (
	"context"
	"io"
	"net/http"

	"wasmhost.example/api"
)

// Happenings calls fn with what happens on the node from now on, and with all on the
// nodes that it trusts, until ctx ends, fn returns an error, or the node ends the stream,
// which is ErrUnreachable. It calls began, unless that is nil, when nothing that
// happens is missed any more.
func (c *Client) Happenings(ctx context.Context, all bool, began func(), fn func(api.Happening) error) error {
	path := "happenings"
	if all {
		path += "?all=true"
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
