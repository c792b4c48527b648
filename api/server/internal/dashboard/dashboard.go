// Package dashboard holds the page that shows a node, and serves its files.
package dashboard

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

// Files are those that the node serves, below dashboard/. They hold nothing of the
// node: the page asks the API, with the token of whoever looks at it.
//
//go:embed dashboard
var Files embed.FS

// Path is where the page is, below the node's address.
const Path = "/dashboard/"

// PagePolicy lets the page load and ask nothing but what comes from where it came
// from, and lets nobody put it into a page of theirs.
const PagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page.
func Handler() http.Handler {
	files, err := fs.Sub(Files, "dashboard")
	if err != nil {
		panic(err) // the name is one that can be embedded
	}
	h := http.StripPrefix(Path, http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", PagePolicy)
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-cache") // another version of the node has another page
		h.ServeHTTP(w, r)
	})
}

// IsPage reports whether the request is for the page or its files, for which
// nobody need say who asks.
func IsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, Path))
}
