package api

import (
	"net/http"
	"net/url"
	"strings"
)

// NextOf returns where the next page of a list begins, which the header Link of an answer
// names (RFC 8288), and whether there is one.
func NextOf(h http.Header) (string, bool) {
	link, ok := strings.CutPrefix(h.Get("Link"), "<")
	target, rel, _ := strings.Cut(link, ">")
	if !ok || !strings.Contains(rel, `rel="next"`) {
		return "", false
	}

	u, err := url.Parse(target)
	if err != nil {
		return "", false
	}
	return u.Query().Get("after"), u.Query().Has("after")
}
