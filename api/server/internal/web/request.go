// Package web reads requests and writes answers: bodies within bounds of size and time, JSON
// that is refused where it says what nobody reads, lists by pages, streams for followers.
package web

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ReadJSON reads the request's body, which is one JSON value. Errors wrap errBadRequest.
func ReadJSON(w http.ResponseWriter, r *http.Request, into any) error {
	b, err := ReadAll(w, r, api.MaxJSON)
	if err != nil {
		return err
	}
	return ParseJSON(b, into)
}

// ParseJSON decodes b strictly: unknown fields and what follows the value are
// ErrBadRequest.
func ParseJSON(b []byte, into any) error {
	if err := canon.UnmarshalJSON(b, into); err != nil {
		return fmt.Errorf("%w: the body: %w", api.ErrBadRequest, err)
	}
	return nil
}

// Header returns a header that a request has at most once, and then not empty.
func Header(h http.Header, name string) (value string, ok bool, err error) {
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

// HopsOf returns how many nodes have passed the request on.
func HopsOf(r *http.Request) (int, error) {
	text := r.Header.Get(HopsHeader)
	if text == "" {
		return 0, nil
	}
	n, err := query.ParseNumber(text)
	if err != nil || n > MaxHops {
		return 0, fmt.Errorf("%w: the header %s is %q, not a number from 0 to %d", api.ErrBadRequest, HopsHeader, text, MaxHops)
	}
	return int(n), nil
}

// HexInto decodes exactly len(dst) bytes of hexadecimal, or returns ErrBadRequest.
func HexInto(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("%w: %d characters are not %d bytes in hexadecimal", api.ErrBadRequest, len(s), len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("%w: %q is not %d bytes in hexadecimal", api.ErrBadRequest, s, len(dst))
	}
	return nil
}

// ReadAll reads a request's body of at most limit bytes. Errors are ErrBadRequest, and
// problem.ErrBodiesFull where other requests leave no room.
func ReadAll(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if errors.Is(err, problem.ErrBodiesFull) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: reading the body: %w", api.ErrBadRequest, err)
	}
	return buf.Bytes(), nil
}

// ByPrefix is the parameter of operations that look.
var ByPrefix = query.Parameter{Name: "prefix", Is: "boolean", What: "The reference may be the beginning of an id, of at least four digits, where nothing is named so."}

// Bounds on how a request is passed on.
const (
	MaxHops    = 8 // nodes that a request is passed over
	HopsHeader = "Wasmhost-Hops"
)

// Handler answers a request, or returns the error that the guard answers with as a
// problem.
type Handler = func(http.ResponseWriter, *http.Request) error

type entityKey struct{}

// WithEntity returns the request, which is about the daemon.
func WithEntity(r *http.Request, id identity.EntityID) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), entityKey{}, id))
}

// Entity is the daemon that a request is about.
func Entity(r *http.Request) identity.EntityID {
	return r.Context().Value(entityKey{}).(identity.EntityID)
}

// Changes reports whether requests of the method change anything.
func Changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }
