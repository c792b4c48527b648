package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"wasmhost.example/api"
)

// lookedFor is the path of a question, which begins with a beginning of an id if need be.
func (c *Client) lookedFor(method, path string) string {
	head, _, one := strings.Cut(path, "/")
	if !c.looks || method != http.MethodGet || !one || head != "daemons" && head != "nodes" && head != "proofs" {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&prefix=true"
	}
	return path + "?prefix=true"
}

// do sends a request and returns the answer's body, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, header http.Header) (io.ReadCloser, error) {
	res, _, err := c.ask(ctx, method, path, body, header)
	return res, err
}

// ask is do, with the answer's header.
func (c *Client) ask(ctx context.Context, method, path string, body io.Reader, header http.Header) (io.ReadCloser, http.Header, error) {
	if strings.Contains(path, "/"+emptySegment) {
		return nil, nil, api.NewProblem("bad-name", "not a valid name: it is empty")
	}

	path, asksPlan := c.planned(method, path)
	target := c.base + path // of what is no part of the API's version, as /readyz is
	if !strings.HasPrefix(path, "/") {
		target = c.base + "/v1/" + c.lookedFor(method, path)
	}

	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, nil, api.NewProblem("bad-request", "bad request: "+err.Error())
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}

	if c.trace != "" {
		req.Header.Set("Traceparent", c.trace)
	}

	for k, v := range header {
		req.Header[k] = v
	}

	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, nil, broken(ctx, err)
	}

	if res.StatusCode < 300 && asksPlan {
		return nil, nil, c.plan(ctx, res.Body)
	}
	if res.StatusCode < 300 {
		return res.Body, res.Header, nil
	}

	defer res.Body.Close()
	p := &api.Problem{}
	b, err := io.ReadAll(io.LimitReader(res.Body, api.MaxJSON))
	if err == nil {
		err = json.Unmarshal(b, p)
	}

	if err != nil || p.Code == "" {
		return nil, nil, fmt.Errorf("the node answered %s: %.200s", res.Status, b)
	}
	return nil, nil, p
}

// broken is the error of a connection that broke.
func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: the connection to the node broke: %w", ErrUnreachable, err)
}

// readError is the error of an answer that cannot be read: what broke, or what
// is no answer.
func readError(ctx context.Context, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, ErrAnswerTooLarge) {
		return fmt.Errorf("reading the node's answer: %w", err)
	}
	return broken(ctx, err)
}

// emptySegment stands for an empty name, which no path can have: do refuses it.
const emptySegment = "%00"

// segment is a name as one part of a path.
func segment(name string) string {
	switch name {
	case "":
		return emptySegment
	case ".", "..":
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// call fills into from a JSON answer; a nil into expects none.
func (c *Client) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	res, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		return err
	}

	defer res.Close()
	if into == nil {
		return nil
	}
	return c.answer(res).decode(ctx, into)
}

// callWith is call with a header and without a body.
func (c *Client) callWith(ctx context.Context, method, path string, header http.Header, into any) error {
	res, err := c.do(ctx, method, path, nil, header)
	if err != nil {
		return err
	}
	defer res.Close()
	return c.answer(res).decode(ctx, into)
}

func jsonBody(v any) (io.Reader, error) {
	b, err := json.Marshal(v)
	return bytes.NewReader(b), err
}
