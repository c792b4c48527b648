package server

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

// The dashboard is three files that the node serves. They hold nothing of the
// node: the page asks the API, with the token of whoever looks at it.

//go:embed dashboard
var dashboardFiles embed.FS

const dashboardPath = "/dashboard/"

// pagePolicy lets the page load and ask nothing but what comes from where it came
// from, and lets nobody put it into a page of theirs.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// dashboard serves the page.
func dashboard() http.Handler {
	files, err := fs.Sub(dashboardFiles, "dashboard")
	if err != nil {
		panic(err) // the name is one that can be embedded
	}
	h := http.StripPrefix(dashboardPath, http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", pagePolicy)
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-cache") // another version of the node has another page
		h.ServeHTTP(w, r)
	})
}

// isPage reports whether the request is for the page or its files, for which
// nobody need say who asks.
func isPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, dashboardPath))
}
