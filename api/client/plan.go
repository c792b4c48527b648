package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"wasmhost.example/api"
)

// PlannedError is the answer to a request that was put by a client of DryRun: it would be
// carried out.
type PlannedError struct{ Plan api.Plan }

// Error implements error.
func (p *PlannedError) Error() string { return "nothing was changed: it was asked what would be" }

// DryRun returns a client whose requests change nothing: one that would change something
// ends with a *PlannedError, where the node would carry it out, or with the error that it
// would end with. A node that does not know dry runs refuses it (bad-request).
func (c *Client) DryRun() *Client {
	out := *c
	out.dry = true
	return &out
}

// harmless are requests that change nothing though they are no GET, or have a dry run of
// their own.
var harmless = []string{"place", "rebalance", "upgrades"}

// planned makes the path ask for a plan, where the request would change something.
func (c *Client) planned(method, path string) (_ string, asks bool) {
	bare, _, query := strings.Cut(path, "?")
	if !c.dry || method == http.MethodGet || slices.Contains(harmless, bare) || strings.HasPrefix(bare, "daemons/") && strings.HasSuffix(bare, "/place") {
		return path, false
	}

	sign := "?"
	if query {
		sign = "&"
	}
	return path + sign + url.Values{api.DryRunParameter: {"true"}}.Encode(), true
}

// plan reads the answer to a request that asked for a plan.
func (c *Client) plan(ctx context.Context, body io.ReadCloser) error {
	defer body.Close()
	p := &PlannedError{}
	if err := c.answer(body).decode(ctx, &p.Plan); err != nil {
		return err
	}
	return p
}
