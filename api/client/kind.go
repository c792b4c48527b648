package client

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"

	"wasmhost.example/api"
)

// PushKind uploads a module.
func (c *Client) PushKind(ctx context.Context, name string, wasm io.Reader, limits ...string) (out api.Kind, err error) {
	return c.PushKindTo(ctx, name, wasm, PushTo{Limits: limits})
}

// PushTo is what goes with a kind that is pushed.
type PushTo struct {
	Limits     []string // NAME=VALUE, as host.ParseLimits reads them
	Nodes      []string // that are to have it beside the node that is asked; or "all"
	Signatures []string // of the module, as host.ParseModuleSignature reads them
}

// PushKindTo is PushKind to the node and to others that it trusts. What these say against
// it is in the answer's Nodes.
func (c *Client) PushKindTo(ctx context.Context, name string, wasm io.Reader, p PushTo) (out api.Kind, err error) {
	path := "kinds/" + segment(name)
	if q := (url.Values{"limit": p.Limits, "to": p.Nodes}).Encode(); q != "" {
		path += "?" + q
	}
	res, err := c.do(ctx, "PUT", path, wasm, http.Header{api.SignatureHeader: p.Signatures})
	if err != nil {
		return out, err
	}
	defer res.Close()
	return out, c.answer(res).decode(ctx, &out)
}

// Kinds lists the kinds.
func (c *Client) Kinds(ctx context.Context) (out []api.Kind, err error) {
	return pages[api.Kind](ctx, c, "kinds")
}

// Kind returns one kind with its report.
func (c *Client) Kind(ctx context.Context, name string) (out api.Kind, err error) {
	return out, c.call(ctx, "GET", "kinds/"+segment(name), nil, &out)
}

// PullKind returns the kind's module. The caller closes it.
func (c *Client) PullKind(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "kinds/"+segment(name)+"/module", nil, nil)
}

// PullModule is PullKind of a module of that digest, which may have been the kind's
// before.
func (c *Client) PullModule(ctx context.Context, kind string, digest [32]byte) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "kinds/"+segment(kind)+"/module?digest="+hex.EncodeToString(digest[:]), nil, nil)
}

// RemoveKind forgets a kind, and returns what it was.
func (c *Client) RemoveKind(ctx context.Context, name string) (out api.Kind, err error) {
	return out, c.call(ctx, "DELETE", "kinds/"+segment(name), nil, &out)
}
