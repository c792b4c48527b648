package server

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/internal/canon"
)

// Bodies and headers are read as strictly as queries.

// readJSON reads the request's body, which is one JSON value. Errors wrap errBadRequest.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	b, err := readAll(w, r, api.MaxJSON)
	if err != nil {
		return err
	}
	return parseJSON(b, into)
}

func parseJSON(b []byte, into any) error {
	if err := canon.UnmarshalJSON(b, into); err != nil {
		return fmt.Errorf("%w: the body: %w", api.ErrBadRequest, err)
	}
	return nil
}

// header returns a header that a request has at most once, and then not empty.
func header(h http.Header, name string) (value string, ok bool, err error) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", false, fmt.Errorf("%w: the header %s is there %d times", api.ErrBadRequest, name, len(values))
	case values[0] == "":
		return "", false, fmt.Errorf("%w: the header %s is empty; leave it out where it says nothing", api.ErrBadRequest, name)
	}
	return values[0], true, nil
}

// checkHeaders refuses headers that say something of the request which the operation
// would not heed.
func checkHeaders(r *http.Request, op operation) error {
	for _, name := range []string{"Authorization", "Content-Type", hopsHeader, api.IdentityHeader, api.TokenHeader, "Last-Event-ID"} {
		if _, _, err := header(r.Header, name); err != nil {
			return err
		}
	}
	if coding, ok, err := header(r.Header, "Content-Encoding"); err != nil || ok && coding != "identity" {
		return fmt.Errorf("%w: a body in the coding %q: send it as it is", api.ErrBadRequest, coding)
	}
	if _, err := hopsOf(r); err != nil {
		return err
	}
	key, keyed, err := header(r.Header, api.IdempotencyHeader)
	switch {
	case err != nil:
		return err
	case len(key) > maxKey:
		return fmt.Errorf("%w: an idempotency key has at most %d bytes, not %d", api.ErrBadRequest, maxKey, len(key))
	case keyed && op.event:
		return fmt.Errorf("%w: an event takes no %s; give it an id: ?id=SENDER/NUMBER", api.ErrBadRequest, api.IdempotencyHeader)
	}
	return checkContent(r, op)
}

// checkContent refuses a body of another kind than the operation's.
func checkContent(r *http.Request, op operation) error {
	if op.body == nil && op.bytes == "" {
		if r.ContentLength != 0 { // none of it is read: rights have not been looked at
			return fmt.Errorf("%w: the operation takes no body", api.ErrBadRequest)
		}
		return nil
	}
	text := r.Header.Get("Content-Type")
	if text == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the header Content-Type is %q: %w", api.ErrBadRequest, text, err)
	case strings.HasPrefix(media, "multipart/"):
		return fmt.Errorf("%w: the header Content-Type is %q: send the body itself, not a form", api.ErrBadRequest, text)
	case op.body == nil || media == "application/json":
	case media == "application/x-www-form-urlencoded": // what curl -d says of any body
	default:
		return fmt.Errorf("%w: the header Content-Type is %q, not application/json", api.ErrBadRequest, text)
	}
	if charset := params["charset"]; op.body != nil && charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fmt.Errorf("%w: the header Content-Type is %q: JSON is UTF-8", api.ErrBadRequest, text)
	}
	return nil
}

// hopsOf returns how many nodes have passed the request on.
func hopsOf(r *http.Request) (int, error) {
	text := r.Header.Get(hopsHeader)
	if text == "" {
		return 0, nil
	}
	n, err := query.ParseNumber(text)
	if err != nil || n > maxHops {
		return 0, fmt.Errorf("%w: the header %s is %q, not a number from 0 to %d", api.ErrBadRequest, hopsHeader, text, maxHops)
	}
	return int(n), nil
}
