package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"wasmhost.example/api"
)

// Spawn makes a daemon.
func (c *Client) Spawn(ctx context.Context, req api.Spawn) (out api.Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "daemons", body, &out)
}

// Daemons lists the node's daemons; with all, those of its peers too.
func (c *Client) Daemons(ctx context.Context, all bool) (out []api.Daemon, err error) {
	path := "daemons"
	if all {
		path += "?all=true"
	}
	return pages[api.Daemon](ctx, c, path)
}

func daemonPath(ref, rest string) string { return "daemons/" + segment(ref) + rest }

// Daemon returns one daemon, wherever it is.
func (c *Client) Daemon(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, ""), nil, &out)
}

// DaemonHere returns a daemon that is on the node itself.
func (c *Client) DaemonHere(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "?local=true"), nil, &out)
}

// Remove ends a daemon for good, and returns where it stood.
func (c *Client) Remove(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, c.call(ctx, "DELETE", daemonPath(ref, ""), nil, &out)
}

// Stop stops a daemon until Start.
func (c *Client) Stop(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/stop"), nil, &out)
}

// Start starts a daemon that Stop stopped.
func (c *Client) Start(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/start"), nil, &out)
}

// Snapshot returns the daemon's snapshot. The caller closes it.
func (c *Client) Snapshot(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", daemonPath(ref, "/snapshot"), nil, nil)
}

// Restore makes a daemon of a snapshot. seed is its identity's, or nil when
// the snapshot carries it for this node.
func (c *Client) Restore(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out api.Daemon, err error) {
	return c.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}}, seed)
}

// RestoreUnsigned is Restore of a snapshot that its daemon has not signed: the caller
// answers for what is in it.
func (c *Client) RestoreUnsigned(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out api.Daemon, err error) {
	return c.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}, "unsigned": {"true"}}, seed)
}

func (c *Client) restore(ctx context.Context, snapshot io.Reader, q url.Values, seed []byte) (out api.Daemon, err error) {
	h := http.Header{}
	if seed != nil {
		h.Set(api.IdentityHeader, hex.EncodeToString(seed))
	}
	for name, values := range q {
		if values[0] == "" {
			q.Del(name) // an empty parameter is refused
		}
	}
	path := "snapshots"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	res, err := c.do(ctx, "POST", path, snapshot, h)
	if err != nil {
		return out, err
	}
	defer res.Close()
	return out, c.answer(res).decode(ctx, &out)
}

// Chain returns the daemon's chain file. The caller closes it.
func (c *Client) Chain(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", daemonPath(ref, "/chain"), nil, nil)
}

// Fork makes daemons that begin with the state of this one, where it is.
func (c *Client) Fork(ctx context.Context, ref string, req api.Fork) (out []api.Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/fork"), body, &out)
}

// Mend brings back a daemon that cannot go on.
func (c *Client) Mend(ctx context.Context, ref string, req api.Mend) (out api.Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/mend"), bytes.NewReader(body), &out)
}

// DaemonHereBegunBy is DaemonHere by the beginning of an id, of at least four digits.
func (c *Client) DaemonHereBegunBy(ctx context.Context, text string) (out api.Daemon, err error) {
	return out, c.call(ctx, "GET", daemonPath(text, "?local=true&prefix=true"), nil, &out)
}
