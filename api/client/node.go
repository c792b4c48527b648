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
func (c *Client) Backup(ctx context.Context, req api.Backup) (io.ReadCloser, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, "POST", "backup", bytes.NewReader(body), nil)
}

// Node returns the node itself.
func (c *Client) Node(ctx context.Context) (out api.Node, err error) {
	return out, c.call(ctx, "GET", "node", nil, &out)
}

// NodeFor is Node, which says how it would do for a daemon of the kind; an empty kind is
// none.
func (c *Client) NodeFor(ctx context.Context, kind string) (out api.Node, err error) {
	path := "node"
	if kind != "" {
		path += "?" + url.Values{"kind": {kind}}.Encode()
	}
	return out, c.call(ctx, "GET", path, nil, &out)
}

// Nodes returns the node and its peers.
func (c *Client) Nodes(ctx context.Context) (out []api.Node, err error) {
	return out, c.call(ctx, "GET", "nodes", nil, &out)
}

// NodeOf returns the node, or a peer of it, by a whole reference.
func (c *Client) NodeOf(ctx context.Context, ref string) (out api.Node, err error) {
	return out, c.call(ctx, "GET", "nodes/"+segment(ref), nil, &out)
}

// Token issues a join token; who joins with it gets the rights.
func (c *Client) Token(ctx context.Context, ttl time.Duration, rights string) (out api.Token, err error) {
	return out, c.call(ctx, "POST", "token?ttl="+url.QueryEscape(ttl.String())+"&rights="+url.QueryEscape(rights), nil, &out)
}

// Join makes the node and the one that issued the token trust each other, and
// returns that one.
func (c *Client) Join(ctx context.Context, token string) (out api.Node, err error) {
	body, err := jsonBody(api.Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "join", body, &out)
}

// JoinWith is Join that grants only these rights to the node that issued the token.
func (c *Client) JoinWith(ctx context.Context, token, rights string) (out api.Node, err error) {
	body, err := jsonBody(api.Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "join?rights="+url.QueryEscape(rights), body, &out)
}

// Grant sets what a trusted node may do.
func (c *Client) Grant(ctx context.Context, node, rights string) (out api.Node, err error) {
	return out, c.call(ctx, "PUT", "trust/"+segment(node)+"?rights="+url.QueryEscape(rights), nil, &out)
}

// Distrust ends the trust in a node, and returns which it was.
func (c *Client) Distrust(ctx context.Context, node string) (out api.Node, err error) {
	return out, c.call(ctx, "DELETE", "trust/"+segment(node), nil, &out)
}

// Held lists the daemons that are held on the node.
func (c *Client) Held(ctx context.Context) (out []api.Held, err error) {
	return out, c.call(ctx, "GET", "held", nil, &out)
}

// Confirm ends a hold: the copy here goes on.
func (c *Client) Confirm(ctx context.Context, ref string) (out api.Mended, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/confirm"), nil, &out)
}

// Yield ends a hold: the copy here is dropped for the one that has more.
func (c *Client) Yield(ctx context.Context, ref string) (out api.Mended, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/yield"), nil, &out)
}

// Incarnation returns which life of the node this is.
func (c *Client) Incarnation(ctx context.Context) (out api.Incarnation, err error) {
	return out, c.call(ctx, "GET", "incarnation", nil, &out)
}

// ConfirmNode confirms a node that was restored: its channels are open again.
func (c *Client) ConfirmNode(ctx context.Context) (out api.Incarnation, err error) {
	return out, c.call(ctx, "POST", "incarnation/confirm", nil, &out)
}

// Top returns the daemons of the node that use most over an interval.
func (c *Client) Top(ctx context.Context, interval time.Duration, most int) (out api.Busiest, err error) {
	q := url.Values{"interval": {interval.String()}, "daemons": {strconv.Itoa(most)}}
	return out, c.call(ctx, "GET", "top?"+q.Encode(), nil, &out)
}
