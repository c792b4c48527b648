package client

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"wasmhost.example/api"
)

// pages reads a list page by page.
func pages[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	out := []T{}
	at, query, _ := strings.Cut(path, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, api.NewProblem("bad-request", "bad request: "+err.Error())
	}

	q.Set("limit", strconv.Itoa(api.MaxPage))
	a := c.answer(nil)
	a.left *= listAnswers

	for {
		res, header, err := c.ask(ctx, "GET", at+"?"+q.Encode(), nil, nil)
		if err != nil {
			return nil, err
		}

		before := len(out)
		a.Reader = res
		out, err = appendList(ctx, a, out)
		_ = res.Close() // what it held was read
		if err != nil {
			return nil, err
		}

		next, ok := api.NextOf(header)
		if !ok || len(out) == before {
			return out, nil
		}

		q.Set("after", next)
	}
}
