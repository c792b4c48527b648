package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"wasmhost.example/api"
)

// Logs calls fn with the daemon's kept log lines; with follow it then goes on
// with new ones, wherever the daemon moves, until ctx ends. A *api.Problem with the code
// daemon-removed says that the daemon was removed meanwhile.
func (c *Client) Logs(ctx context.Context, ref string, follow bool, fn func(api.LogLine) error) error {
	if !follow {
		return stream(ctx, c, daemonPath(ref, "/logs"), fn)
	}

	d, err := c.Daemons().Get(ctx, ref)
	if err != nil {
		return err
	}

	var last time.Time
	at := d.NodeID // whose lines fn has seen, up to last
	return c.follow(ctx, d, func(d api.Daemon) error {
		if d.NodeID != at {
			at, last = d.NodeID, time.Time{}
		}

		seen := last
		return stream(ctx, c, daemonPath(d.EntityID, "/logs?follow=true"), func(l api.LogLine) error {
			if !l.Time.After(seen) {
				return nil
			}
			last = l.Time
			return fn(l)
		})
	})
}

// Tail calls fn with the daemon's outputs, each once it is durable, from now
// on, or from that after the cursor if it is not empty (a sequence, or ORIGIN:SEQUENCE);
// wherever the daemon moves, until ctx ends. A *api.Problem with the code cursor-gone says
// that the daemon has made no such output, one with daemon-removed that it was removed
// meanwhile.
func (c *Client) Tail(ctx context.Context, ref, after string, fn func(api.Output) error) error {
	d, err := c.Daemons().Get(ctx, ref)
	if err != nil {
		return err
	}

	seen := strconv.FormatUint(d.Sequence, 10)
	if after != "" {
		seen = after
	}

	return c.follow(ctx, d, func(d api.Daemon) error {
		return stream(ctx, c, daemonPath(d.EntityID, "/tail?after="+url.QueryEscape(seen)), func(o api.Output) error {
			seen = strconv.FormatUint(o.Sequence, 10)
			return fn(o)
		})
	})
}

// callbackError is an error of who follows, not of what is followed.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

func stream[T any](ctx context.Context, c *Client, path string, fn func(T) error) error {
	res, err := c.do(ctx, "GET", path, nil, nil)
	if err != nil {
		return err
	}

	defer res.Close()
	err = eachLine(ctx, c, res, func(v T) error {
		if err := fn(v); err != nil {
			return &callbackError{err}
		}
		return nil
	})

	var ours *callbackError
	if errors.As(err, &ours) {
		return err
	}
	return nil // a stream that ends or breaks says nothing of its daemon: ask
}

// followPause is how long who follows waits before it asks again.
const followPause = 100 * time.Millisecond

// follow calls once, which follows the daemon until its stream ends, again and
// again: where the daemon moved, it is followed there.
func (c *Client) follow(ctx context.Context, followed api.Daemon, once func(api.Daemon) error) error {
	id, name := followed.EntityID, cmp.Or(followed.Name, followed.Origin)
	for {
		began := time.Now()
		d, err := c.Daemons().Get(ctx, id)
		if err == nil {
			err = once(d)
		}

		var ours *callbackError
		var p *api.Problem
		switch {
		case errors.As(err, &ours):
			return ours.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &p) && p.Code == "daemon-not-found":
			return api.NewProblem("daemon-removed", fmt.Sprintf("%s was removed", name))
		case err != nil:
			return err
		}

		if time.Since(began) < followPause {
			timer := time.NewTimer(followPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
}
