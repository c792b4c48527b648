package client

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// Proxy returns a handler that passes requests on to the client's node as they are, with
// the client's token, and gives the answers as they come. What cannot be passed on is
// answered by fail, with an error that wraps ErrUnreachable where the node does not answer.
func (c *Client) Proxy(fail func(http.ResponseWriter, error)) (*httputil.ReverseProxy, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, fmt.Errorf("passing requests on to %s: %w", c.base, err)
	}

	transport := c.http.Transport
	if p, ok := transport.(printableTransport); ok {
		transport = p.RoundTripper
	}

	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = base.Scheme, base.Host, base.Host
			if c.token != "" {
				p.Out.Header.Set("Authorization", "Bearer "+c.token)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { fail(w, broken(r.Context(), err)) },
	}, nil
}
