package client

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"

	"wasmhost.example/api"
)

// Push uploads a module.
func (k Kinds) Push(ctx context.Context, name string, wasm io.Reader, limits ...string) (out api.Kind, err error) {
	return k.PushTo(ctx, name, wasm, PushTo{Limits: limits})
}

// PushTo is what goes with a kind that is pushed.
type PushTo struct {
	Limits     []string // NAME=VALUE, as host.ParseLimits reads them
	Nodes      []string // that are to have it beside the node that is asked; or "all"
	Signatures []string // of the module, as host.ParseModuleSignature reads them
}

// PushTo is Push to the node and to others that it trusts. What these say against
// it is in the answer's Nodes.
func (k Kinds) PushTo(ctx context.Context, name string, wasm io.Reader, p PushTo) (out api.Kind, err error) {
	path := "kinds/" + segment(name)
	if q := (url.Values{"limit": p.Limits, "to": p.Nodes}).Encode(); q != "" {
		path += "?" + q
	}

	res, err := k.c.do(ctx, "PUT", path, wasm, http.Header{api.SignatureHeader: p.Signatures})
	if err != nil {
		return out, err
	}

	defer res.Close()
	return out, k.c.answer(res).decode(ctx, &out)
}

// List lists the kinds.
func (k Kinds) List(ctx context.Context) (out []api.Kind, err error) {
	return pages[api.Kind](ctx, k.c, "kinds")
}

// Get returns one kind with its report.
func (k Kinds) Get(ctx context.Context, name string) (out api.Kind, err error) {
	return out, k.c.call(ctx, "GET", "kinds/"+segment(name), nil, &out)
}

// Pull returns the kind's module. The caller closes it.
func (k Kinds) Pull(ctx context.Context, name string) (io.ReadCloser, error) {
	return k.c.do(ctx, "GET", "kinds/"+segment(name)+"/module", nil, nil)
}

// PullModule is Pull of a module of that digest, which may have been the kind's
// before.
func (k Kinds) PullModule(ctx context.Context, kind string, digest [32]byte) (io.ReadCloser, error) {
	return k.c.do(ctx, "GET", "kinds/"+segment(kind)+"/module?digest="+hex.EncodeToString(digest[:]), nil, nil)
}

// Remove forgets a kind, and returns what it was.
func (k Kinds) Remove(ctx context.Context, name string) (out api.Kind, err error) {
	return out, k.c.call(ctx, "DELETE", "kinds/"+segment(name), nil, &out)
}
