package client

import (
	"context"

	"wasmhost.example/api"
)

// IssueToken makes an API token: the answer alone has it.
func (c *Client) IssueToken(ctx context.Context, req api.IssueToken) (out api.APIToken, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "api-tokens", body, &out)
}

// APITokens lists the node's API tokens.
func (c *Client) APITokens(ctx context.Context) (out []api.APIToken, err error) {
	return pages[api.APIToken](ctx, c, "api-tokens")
}

// RevokeToken ends an API token, and returns which it was.
func (c *Client) RevokeToken(ctx context.Context, id string) (out api.APIToken, err error) {
	return out, c.call(ctx, "DELETE", "api-tokens/"+segment(id), nil, &out)
}
