package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"wasmhost/api"
)

// The parameters of a request stand in its operation's declaration, and are read here
// alone. A request whose query says anything else is refused before it is looked at:
// what is misspelt, repeated, malformed or empty is never left out without a word.

// maxQuery bounds the text of a query.
const maxQuery = 64 << 10 // bytes of a query

// parameter is one of an operation's query parameters.
type parameter struct {
	name, is, what string // is: string, integer or boolean
	many           bool   // it may stand several times
	empty          bool   // it may be empty: the first page's last key may be, and older nodes ask so for no kind
}

// query is the parameters that a request has.
type query struct{ values url.Values }

// queryOf returns the request's parameters, which guarded has checked.
func queryOf(r *http.Request) query {
	return query{r.URL.Query()}
}

// has reports whether the parameter is there.
func (q query) has(name string) bool { return q.values.Has(name) }

// text returns the parameter; empty where it is not there.
func (q query) text(name string) string { return q.values.Get(name) }

// all returns the values of a parameter that may stand several times.
func (q query) all(name string) []string { return q.values[name] }

// is reports whether a boolean parameter is there and true.
func (q query) is(name string) bool {
	on, _ := parseBool(q.values.Get(name)) // guarded has checked it
	return on
}

// number returns an integer parameter; ok where it is there.
func (q query) number(name string) (n uint64, ok bool) {
	n, err := parseNumber(q.values.Get(name))
	return n, err == nil
}

// with changes the parameters of a request that is passed on.
func (q query) with(r *http.Request, name, value string) {
	q.values.Set(name, value)
	r.URL.RawQuery = q.values.Encode()
}

// parseNumber reads a number as strconv.FormatUint writes it: no sign, exponent or
// leading zeros.
func parseNumber(text string) (uint64, error) {
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

// checkQuery returns nil when raw has declared parameters alone, each well-formed.
// Errors wrap errBadRequest.
func checkQuery(raw string, declared []parameter) error {
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
		i := slices.IndexFunc(declared, func(p parameter) bool { return p.name == name })
		if i < 0 {
			return unknownParameter(name, declared)
		}
		p := &declared[i]
		if seen[name] && !p.many {
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

func unknownParameter(name string, declared []parameter) error {
	var names []string
	for _, p := range declared {
		if strings.EqualFold(p.name, name) {
			return fmt.Errorf("%w: unknown parameter %q; it is written %q", api.ErrBadRequest, name, p.name)
		}
		names = append(names, p.name)
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: unknown parameter %q; the operation has none", api.ErrBadRequest, name)
	}
	return fmt.Errorf("%w: unknown parameter %q; the operation has %s", api.ErrBadRequest, name, strings.Join(names, ", "))
}

func (p *parameter) check(value string) error {
	if value == "" {
		if p.empty {
			return nil
		}
		return errors.New("it is empty; leave it out where it says nothing")
	}
	var err error
	switch p.is {
	case "integer":
		_, err = parseNumber(value)
	case "boolean":
		_, err = parseBool(value)
	}
	return err
}
