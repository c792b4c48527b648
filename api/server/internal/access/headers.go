package access

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
)

// Bodies and headers are read as strictly as queries.
// checkHeaders refuses headers that say something of the request which the operation
// would not heed.
func checkHeaders(r *http.Request, op Operation) error {
	for _, name := range []string{"Authorization", "Content-Type", web.HopsHeader, api.IdentityHeader, api.TokenHeader, "Last-Event-ID"} {
		if _, _, err := web.Header(r.Header, name); err != nil {
			return err
		}
	}
	if coding, ok, err := web.Header(r.Header, "Content-Encoding"); err != nil || ok && coding != "identity" {
		return fmt.Errorf("%w: a body in the coding %q: send it as it is", api.ErrBadRequest, coding)
	}
	if _, err := web.HopsOf(r); err != nil {
		return err
	}
	key, keyed, err := web.Header(r.Header, api.IdempotencyHeader)
	switch {
	case err != nil:
		return err
	case len(key) > MaxKey:
		return fmt.Errorf("%w: an idempotency key has at most %d bytes, not %d", api.ErrBadRequest, MaxKey, len(key))
	case keyed && op.Event:
		return fmt.Errorf("%w: an event takes no %s; give it an id: ?id=SENDER/NUMBER", api.ErrBadRequest, api.IdempotencyHeader)
	}
	return checkContent(r, op)
}

// checkContent refuses a body of another kind than the operation's.
func checkContent(r *http.Request, op Operation) error {
	if op.Body == nil && op.Bytes == "" {
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
	case op.Body == nil || media == "application/json":
	case media == "application/x-www-form-urlencoded": // what curl -d says of any body
	default:
		return fmt.Errorf("%w: the header Content-Type is %q, not application/json", api.ErrBadRequest, text)
	}
	if charset := params["charset"]; op.Body != nil && charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fmt.Errorf("%w: the header Content-Type is %q: JSON is UTF-8", api.ErrBadRequest, text)
	}
	return nil
}
