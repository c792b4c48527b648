// Package query reads the parameters of requests: each operation says which it takes, and a
// request with others, or with a value of another type, is refused.
package query

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"wasmhost.example/api"
)

// The parameters of a request stand in its operation's declaration, and are read here
// alone. A request whose query says anything else is refused before it is looked at:
// what is misspelt, repeated, malformed or empty is never left out without a word.

// maxQuery bounds the text of a query.
const maxQuery = 64 << 10 // bytes of a query

// Parameter is one of an operation's query parameters.
type Parameter struct {
	Name, Is, What string // is: string, integer or boolean
	Many           bool   // it may stand several times
	Empty          bool   // it may be empty: the first page's last key may be, and older nodes ask so for no kind
}

// Query is the parameters that a request has.
type Query struct{ Values url.Values }

// Of returns the request's parameters, which guarded has checked.
func Of(r *http.Request) Query {
	return Query{r.URL.Query()}
}

// Has reports whether the parameter is there.
func (q Query) Has(name string) bool { return q.Values.Has(name) }

// Text returns the parameter; empty where it is not there.
func (q Query) Text(name string) string { return q.Values.Get(name) }

// All returns the values of a parameter that may stand several times.
func (q Query) All(name string) []string { return q.Values[name] }

// Is reports whether a boolean parameter is there and true.
func (q Query) Is(name string) bool {
	on, _ := parseBool(q.Values.Get(name)) // guarded has checked it
	return on
}

// Number returns an integer parameter; ok where it is there.
func (q Query) Number(name string) (n uint64, ok bool) {
	n, err := ParseNumber(q.Values.Get(name))
	return n, err == nil
}

// With changes the parameters of a request that is passed on.
func (q Query) With(r *http.Request, name, value string) {
	q.Values.Set(name, value)
	r.URL.RawQuery = q.Values.Encode()
}

// ParseNumber reads a number as strconv.FormatUint writes it: no sign, exponent or
// leading zeros.
func ParseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%q is no number from 0 to 2^64-1 in plain digits", text)
	}
	return n, nil
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// Check returns nil when raw has declared parameters alone, each well-formed.
// Errors wrap api.ErrBadRequest.
func Check(raw string, declared []Parameter) error {
	if raw == "" {
		return nil
	}
	if len(raw) > maxQuery {
		return fmt.Errorf("%w: the query has %d bytes, at most %d", api.ErrBadRequest, len(raw), maxQuery)
	}
	seen := make(map[string]bool)
	for piece := range strings.SplitSeq(raw, "&") {
		name, value, err := unescaped(piece)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(declared, func(p Parameter) bool { return p.Name == name })
		if i < 0 {
			return unknownParameter(name, declared)
		}
		p := &declared[i]
		if seen[name] && !p.Many {
			return fmt.Errorf("%w: the query has the parameter %q more than once", api.ErrBadRequest, name)
		}
		seen[name] = true
		if err := p.check(value); err != nil {
			return fmt.Errorf("%w: the parameter %q: %w", api.ErrBadRequest, name, err)
		}
	}
	return nil
}

// unescaped reads NAME=VALUE.
func unescaped(piece string) (name, value string, err error) {
	rawName, rawValue, ok := strings.Cut(piece, "=")
	name, nameErr := url.QueryUnescape(rawName)
	value, valueErr := url.QueryUnescape(rawValue)
	switch {
	case !ok || rawName == "":
		return "", "", fmt.Errorf("%w: the query has %q: a parameter is NAME=VALUE", api.ErrBadRequest, piece)
	case nameErr != nil || valueErr != nil || strings.Contains(piece, ";") || !utf8.ValidString(name) || !utf8.ValidString(value):
		return "", "", fmt.Errorf("%w: the parameter %q is not escaped as a query is: %q", api.ErrBadRequest, rawName, piece)
	}
	return name, value, nil
}

func unknownParameter(name string, declared []Parameter) error {
	var names []string
	for _, p := range declared {
		if strings.EqualFold(p.Name, name) {
			return fmt.Errorf("%w: unknown parameter %q; it is written %q", api.ErrBadRequest, name, p.Name)
		}
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: unknown parameter %q; the operation has none", api.ErrBadRequest, name)
	}
	return fmt.Errorf("%w: unknown parameter %q; the operation has %s", api.ErrBadRequest, name, strings.Join(names, ", "))
}

func (p *Parameter) check(value string) error {
	if value == "" {
		if p.Empty {
			return nil
		}
		return errors.New("it is empty; leave it out where it says nothing")
	}
	var err error
	switch p.Is {
	case "integer":
		_, err = ParseNumber(value)
	case "boolean":
		_, err = parseBool(value)
	}
	return err
}
