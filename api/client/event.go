package client

import (
	"bytes"
	"context"
	"net/url"

	"wasmhost.example/api"
)

// sending is the path of what is sent under an id, and to groups by the client's key.
func (c *Client) sending(path, id string) string {
	q := url.Values{}
	if id != "" {
		q.Set("id", id)
	}

	if c.key != "" {
		q.Set("key", c.key)
	}

	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// Send delivers one event, to a daemon or to group/NAME, and returns when it is durable. An event with an id,
// as ParseEventID reads it, is applied once however often it is sent; one with
// an empty id is another event each time.
func (c *Client) Send(ctx context.Context, ref, id string, payload []byte) (out api.Sent, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, c.sending("/events", id)), bytes.NewReader(payload), &out)
}

// SendAll delivers the events that next returns, in order and pipelined, until
// it returns io.EOF; fn gets what became of each, in order. A failed event is
// in Sent.Error and stops nothing, unless Sent.Stopped says so. id, if any, is
// that of the first event; the numbers of the others follow.
func (c *Client) SendAll(ctx context.Context, ref, id string, next func() ([]byte, error), fn func(api.Sent) error) error {
	return pipeline(ctx, c, daemonPath(ref, c.sending("/stream", id)), nil, next, func(s api.Sent, enough func()) error {
		if s.Stopped {
			enough()
		}
		return fn(s)
	})
}
