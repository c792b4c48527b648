package client

import (
	"context"

	"wasmhost.example/api"
)

// Issue makes an API token: the answer alone has it.
func (t Tokens) Issue(ctx context.Context, req api.IssueToken) (out api.APIToken, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, t.c.call(ctx, "POST", "api-tokens", body, &out)
}

// List lists the node's API tokens.
func (t Tokens) List(ctx context.Context) (out []api.APIToken, err error) {
	return pages[api.APIToken](ctx, t.c, "api-tokens")
}

// Revoke ends an API token, and returns which it was.
func (t Tokens) Revoke(ctx context.Context, id string) (out api.APIToken, err error) {
	return out, t.c.call(ctx, "DELETE", "api-tokens/"+segment(id), nil, &out)
}
