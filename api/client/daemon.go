package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// Spawn makes a daemon.
func (c *Client) Spawn(ctx context.Context, req api.Spawn) (out api.Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "daemons", body, &out)
}

// List lists the node's daemons; with all, those of its peers too.
func (d Daemons) List(ctx context.Context, all bool) (out []api.Daemon, err error) {
	path := "daemons"
	if all {
		path += "?all=true"
	}
	return pages[api.Daemon](ctx, d.c, path)
}

func daemonPath(ref, rest string) string { return "daemons/" + segment(ref) + rest }

// Get returns one daemon, wherever it is.
func (d Daemons) Get(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "GET", daemonPath(ref, ""), nil, &out)
}

// GetHere returns a daemon that is on the node itself.
func (d Daemons) GetHere(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "GET", daemonPath(ref, "?local=true"), nil, &out)
}

// Remove ends a daemon for good, and returns where it stood.
func (d Daemons) Remove(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "DELETE", daemonPath(ref, ""), nil, &out)
}

// RemoveAt removes a daemon that stands at the epoch; one at another epoch stays, which is
// an error.
func (d Daemons) RemoveAt(ctx context.Context, ref string, epoch uint64) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "DELETE", daemonPath(ref, "?epoch="+strconv.FormatUint(epoch, 10)), nil, &out)
}

// Stop stops a daemon until Start.
func (d Daemons) Stop(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/stop"), nil, &out)
}

// Start starts a daemon that Stop stopped.
func (d Daemons) Start(ctx context.Context, ref string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/start"), nil, &out)
}

// Snapshot returns the daemon's snapshot. The caller closes it.
func (d Daemons) Snapshot(ctx context.Context, ref string) (io.ReadCloser, error) {
	return d.c.do(ctx, "GET", daemonPath(ref, "/snapshot"), nil, nil)
}

// Restore makes a daemon of a snapshot. seed is its identity's, or nil when
// the snapshot carries it for this node.
func (d Daemons) Restore(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out api.Daemon, err error) {
	return d.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}}, seed)
}

// RestoreUnsigned is Restore of a snapshot that its daemon has not signed: the caller
// answers for what is in it.
func (d Daemons) RestoreUnsigned(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out api.Daemon, err error) {
	return d.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}, "unsigned": {"true"}}, seed)
}

func (d Daemons) restore(ctx context.Context, snapshot io.Reader, q url.Values, seed []byte) (out api.Daemon, err error) {
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

	res, err := d.c.do(ctx, "POST", path, snapshot, h)
	if err != nil {
		return out, err
	}

	defer res.Close()
	return out, d.c.answer(res).decode(ctx, &out)
}

// Chain returns the daemon's chain file. The caller closes it.
func (d Daemons) Chain(ctx context.Context, ref string) (io.ReadCloser, error) {
	return d.c.do(ctx, "GET", daemonPath(ref, "/chain"), nil, nil)
}

// Fork makes daemons that begin with the state of this one, where it is.
func (d Daemons) Fork(ctx context.Context, ref string, req api.Fork) (out []api.Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/fork"), body, &out)
}

// Repair brings back a daemon that cannot go on.
func (d Daemons) Repair(ctx context.Context, ref string, req api.Mend) (out api.Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/mend"), bytes.NewReader(body), &out)
}

// GetHereByPrefix is GetHere by the beginning of an id, of at least four digits.
func (d Daemons) GetHereByPrefix(ctx context.Context, text string) (out api.Daemon, err error) {
	return out, d.c.call(ctx, "GET", daemonPath(text, "?local=true&prefix=true"), nil, &out)
}

// LocalStatus returns what the node knows of a daemon by itself.
func (d Daemons) LocalStatus(ctx context.Context, id identity.EntityID) (out api.Sighting, err error) {
	return out, d.c.call(ctx, "GET", "sightings/"+id.String(), nil, &out)
}

// Grants returns what a daemon may do.
func (d Daemons) Grants(ctx context.Context, ref string) (out api.Grants, err error) {
	return out, d.c.call(ctx, "GET", daemonPath(ref, "/grants"), nil, &out)
}

// ChangeGrants changes what a daemon may do, from its next event on, and returns what it may
// do then.
func (d Daemons) ChangeGrants(ctx context.Context, ref string, req api.ChangeGrants) (out api.Grants, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/grants"), body, &out)
}
