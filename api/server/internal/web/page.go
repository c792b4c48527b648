package web

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
)

// A list is answered in pages to who asks for them: ?limit=N, and then what the
// header Link names as next (RFC 8288). The next page begins behind the last
// entry's key, so that what comes or goes meanwhile shifts nothing.

// WritePage answers with the list, which is sorted by key, or with the page of
// it that is asked for.
func WritePage[T any](w http.ResponseWriter, r *http.Request, list []T, key func(T) string) error {
	list, err := Page(w, r, list, key)
	if err != nil {
		return err
	}
	return WriteJSON(w, list)
}

// Page returns what writePage writes, and names the next page in the header.
func Page[T any](w http.ResponseWriter, r *http.Request, list []T, key func(T) string) ([]T, error) {
	after, n, err := PageOf(r)
	if err != nil {
		return nil, err
	}
	if query.Of(r).Has("after") { // the first entry's key may be empty
		list = list[sort.Search(len(list), func(i int) bool { return key(list[i]) > after }):]
	}
	if q := query.Of(r); n > 0 {
		if len(list) > n {
			list = list[:n]
			q.Values.Set("after", base64.RawURLEncoding.EncodeToString([]byte(key(list[n-1]))))
			w.Header().Set("Link", "<"+r.URL.Path+"?"+q.Values.Encode()+`>; rel="next"`)
		}
	}
	return list, nil
}

// PageOf returns which page of a list is asked for: the key before its first entry, where
// the request has one, and of how many entries; 0: of all.
func PageOf(r *http.Request) (after string, limit int, err error) {
	q := query.Of(r)
	if q.Has("after") {
		b, err := base64.RawURLEncoding.Strict().DecodeString(q.Text("after"))
		if err != nil || strings.ContainsAny(q.Text("after"), "\r\n") {
			return "", 0, fmt.Errorf("%w: after=%q is not what a page named as next", api.ErrBadRequest, q.Text("after"))
		}
		after = string(b)
	}
	if n, ok := q.Number("limit"); ok {
		if n < 1 || n > api.MaxPage {
			return "", 0, fmt.Errorf("%w: limit=%q is not between 1 and %d", api.ErrBadRequest, q.Text("limit"), api.MaxPage)
		}
		limit = int(n)
	}
	return after, limit, nil
}

// NextAt has the link to the next page, which another node wrote, name that node.
func NextAt(res *http.Response, node string) error {
	next, ok := api.NextOf(res.Header)
	if !ok {
		return nil
	}
	u := *res.Request.URL
	q := u.Query()
	q.Set("after", next)
	q.Set("node", node)
	res.Header.Set("Link", "<"+u.Path+"?"+q.Encode()+`>; rel="next"`)
	return nil
}

// Ordered writes a time so that texts are in the order of times.
func Ordered(t time.Time) string { return fmt.Sprintf("%020d", t.UnixNano()) }

// Number writes a number so that texts are in the order of numbers.
func Number(n uint64) string { return fmt.Sprintf("%020d", n) }
