package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"time"

	"wasmhost.example/api"
)

// Backup asks the node for a backup, and returns the stream that backup.Create reads.
// The caller closes it.
func (n Node) Backup(ctx context.Context, req api.Backup) (io.ReadCloser, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	return n.c.do(ctx, "POST", "backup", bytes.NewReader(body), nil)
}

// Get returns the node itself.
func (n Node) Get(ctx context.Context) (out api.Node, err error) {
	return out, n.c.call(ctx, "GET", "node", nil, &out)
}

// GetFor is Get, which says how it would do for a daemon of the kind; an empty kind is
// none.
func (n Node) GetFor(ctx context.Context, kind string) (out api.Node, err error) {
	path := "node"
	if kind != "" {
		path += "?" + url.Values{"kind": {kind}}.Encode()
	}
	return out, n.c.call(ctx, "GET", path, nil, &out)
}

// List returns the node and its peers.
func (n Nodes) List(ctx context.Context) (out []api.Node, err error) {
	return out, n.c.call(ctx, "GET", "nodes", nil, &out)
}

// Get returns the node, or a peer of it, by a whole reference.
func (n Nodes) Get(ctx context.Context, ref string) (out api.Node, err error) {
	return out, n.c.call(ctx, "GET", "nodes/"+segment(ref), nil, &out)
}

// JoinToken issues a join token; who joins with it gets the rights.
func (n Node) JoinToken(ctx context.Context, ttl time.Duration, rights string) (out api.Token, err error) {
	return out, n.c.call(ctx, "POST", "token?ttl="+url.QueryEscape(ttl.String())+"&rights="+url.QueryEscape(rights), nil, &out)
}

// Join makes the node and the one that issued the token trust each other, and
// returns that one.
func (n Node) Join(ctx context.Context, token string) (out api.Node, err error) {
	body, err := jsonBody(api.Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, n.c.call(ctx, "POST", "join", body, &out)
}

// JoinWith is Join that grants only these rights to the node that issued the token.
func (n Node) JoinWith(ctx context.Context, token, rights string) (out api.Node, err error) {
	body, err := jsonBody(api.Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, n.c.call(ctx, "POST", "join?rights="+url.QueryEscape(rights), body, &out)
}

// Grant sets what a trusted node may do.
func (n Nodes) Grant(ctx context.Context, node, rights string) (out api.Node, err error) {
	return out, n.c.call(ctx, "PUT", "trust/"+segment(node)+"?rights="+url.QueryEscape(rights), nil, &out)
}

// Distrust ends the trust in a node, and returns which it was.
func (n Nodes) Distrust(ctx context.Context, node string) (out api.Node, err error) {
	return out, n.c.call(ctx, "DELETE", "trust/"+segment(node), nil, &out)
}

// Held lists the daemons that are held on the node.
func (n Node) Held(ctx context.Context) (out []api.Held, err error) {
	return out, n.c.call(ctx, "GET", "held", nil, &out)
}

// Confirm ends a hold: the copy here goes on.
func (d Daemons) Confirm(ctx context.Context, ref string) (out api.Mended, err error) {
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/confirm"), nil, &out)
}

// Yield ends a hold: the copy here is dropped for the one that has more.
func (d Daemons) Yield(ctx context.Context, ref string) (out api.Mended, err error) {
	return out, d.c.call(ctx, "POST", daemonPath(ref, "/yield"), nil, &out)
}

// Incarnation returns which life of the node this is.
func (n Node) Incarnation(ctx context.Context) (out api.Incarnation, err error) {
	return out, n.c.call(ctx, "GET", "incarnation", nil, &out)
}

// Confirm confirms a node that was restored: its channels are open again.
func (n Node) Confirm(ctx context.Context) (out api.Incarnation, err error) {
	return out, n.c.call(ctx, "POST", "incarnation/confirm", nil, &out)
}

// Top returns the daemons of the node that use most over an interval.
func (n Node) Top(ctx context.Context, interval time.Duration, most int) (out api.Busiest, err error) {
	q := url.Values{"interval": {interval.String()}, "daemons": {strconv.Itoa(most)}}
	return out, n.c.call(ctx, "GET", "top?"+q.Encode(), nil, &out)
}
