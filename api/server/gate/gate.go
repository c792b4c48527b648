// Package gate lets browsers of this machine use a node's API through one listener on a
// loopback address.
package gate

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
)

// Gate lets browsers of this machine use a node's API: an http.Handler for a
// listener on a loopback address, which passes on what it lets in. Whoever knows
// the code of a link exchanges it, once, for the key of a session, which every
// further request must show in its header; other pages in the browser can neither
// read the key nor have the browser send it. It is safe for concurrent use.
type Gate struct {
	host     string // as it must stand in requests
	port     string
	readOnly bool
	proxy    *httputil.ReverseProxy
	entered  func() // called when a code was used; not nil
	now      func() time.Time

	mu       sync.Mutex
	code     string               // that is good next; empty: none is
	issued   time.Time            // when code was
	sessions map[string]time.Time // until when each is good, by key
}

// Bounds on what a Gate lets in.
const (
	CodeTTL     = 15 * time.Minute
	SessionTTL  = 12 * time.Hour
	MaxSessions = 16 // sessions of the dashboard
)

// GateOptions are how a gate lets browsers in. The zero value is good.
type Options struct {
	ReadOnly bool             // let through only what changes nothing
	Entered  func()           // called each time that a browser came in, by its request's goroutine; nil: nobody is told
	Now      func() time.Time // the clock; nil: time.Now
}

// NewGate makes a gate to c's node, for a listener on the loopback address addr,
// which is HOST:PORT.
func New(c *client.Client, addr string, o Options) (*Gate, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("making a gate at %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("making a gate at %s: %w: it is no loopback address", addr, problem.ErrForeign)
	}
	proxy, err := c.Proxy(problem.Write)
	if err != nil {
		return nil, fmt.Errorf("making a gate: %w", err)
	}
	if o.Entered == nil {
		o.Entered = func() {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gate{host: host, port: port, readOnly: o.ReadOnly, entered: o.Entered, now: o.Now, sessions: make(map[string]time.Time)}
	g.proxy = proxy
	pass := proxy.Rewrite
	proxy.Rewrite = func(p *httputil.ProxyRequest) {
		for _, name := range []string{"Authorization", "Cookie", "Origin", "Referer", web.HopsHeader} {
			p.Out.Header.Del(name)
		}
		pass(p)
	}
	return g, nil
}

// Link returns the address of the page with a new code, which is good once and
// for 15 minutes; the code before it is good no more. It stands behind #, where
// browsers send it to nobody.
func (g *Gate) Link() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.code, g.issued = secretText(), g.now()
	return "http://" + net.JoinHostPort(g.host, g.port) + dashboard.Path + "#code=" + g.code
}

// secretText is 256 random bits.
func secretText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Session is what a browser gets for a code.
type Session struct {
	Key      string    `json:"key"`
	Expires  time.Time `json:"expires"`
	ReadOnly bool      `json:"read_only"`
}

// SessionCount returns how many sessions the gate knows, some of which may have ended.
func (g *Gate) SessionCount() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions)
}

// enter exchanges the code for a session.
func (g *Gate) enter(code string) (Session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if g.code == "" || now.Sub(g.issued) > CodeTTL || subtle.ConstantTimeCompare([]byte(code), []byte(g.code)) != 1 {
		return Session{}, problem.ErrCode
	}
	g.code = ""
	oldest := ""
	for key, until := range g.sessions {
		if !now.Before(until) {
			delete(g.sessions, key)
		} else if oldest == "" || until.Before(g.sessions[oldest]) {
			oldest = key
		}
	}
	if len(g.sessions) >= MaxSessions {
		delete(g.sessions, oldest)
	}
	s := Session{Key: secretText(), Expires: now.Add(SessionTTL).UTC(), ReadOnly: g.readOnly}
	g.sessions[s.Key] = s.Expires
	return s, nil
}

// known reports whether the request shows the key of a session.
func (g *Gate) known(r *http.Request) bool {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	found := false
	for key, until := range g.sessions { // each is compared, so that time tells nothing
		if subtle.ConstantTimeCompare([]byte(shown), []byte(key)) == 1 && g.now().Before(until) {
			found = true
		}
	}
	return found
}

// ServeHTTP answers a browser.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer web.TimeBody(w, r, r.URL.Path != "/session")()
	if err := g.serve(w, r); err != nil {
		problem.Write(w, err)
	}
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request) error {
	if err := g.ours(r); err != nil {
		return err
	}
	switch {
	case dashboard.IsPage(r):
		if r.URL.Path == "/" {
			http.Redirect(w, r, dashboard.Path, http.StatusFound)
			return nil
		}
	case r.Method == http.MethodPost && r.URL.Path == "/session":
		code, err := web.ReadAll(w, r, 1<<10)
		if err != nil {
			return err
		}
		s, err := g.enter(string(code))
		if err != nil {
			return err
		}
		defer g.entered()
		w.Header().Set("Cache-Control", "no-store")
		return web.WriteJSON(w, s)
	case !g.known(r):
		return problem.ErrSession
	case g.readOnly && web.Changes(r.Method):
		return problem.ErrReadOnly
	case !strings.HasPrefix(r.URL.Path, "/v1/") && r.URL.Path != "/metrics":
		return fmt.Errorf("%w: %s", problem.ErrNotPassed, r.URL.Path)
	}
	g.proxy.ServeHTTP(w, r)
	return nil
}

// ours refuses what a browser sends for another page: under a name that another
// made to mean this address, or from another origin.
func (g *Gate) ours(r *http.Request) error {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil || port != g.port || host != g.host && host != "localhost" {
		return fmt.Errorf("%w: the host %q", problem.ErrForeign, r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return fmt.Errorf("%w: the origin %q", problem.ErrForeign, origin)
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
		return nil
	default:
		if dashboard.IsPage(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
			return nil // a link somewhere to the page, which holds nothing
		}
		return fmt.Errorf("%w: the site is %q", problem.ErrForeign, site)
	}
}
