package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"wasmhost/internal/canon"
)

// Client speaks to one node's control API. It is safe for concurrent use. An
// error that the node answered with is a *Problem.
type Client struct {
	http  *http.Client
	base  string // of the paths
	token string // an API token; empty: none
	trace string // of which trace its requests are, as W3C Trace Context writes it; empty: none
	key   string // by which a group chooses a member for what is sent
	looks bool   // beginnings of ids do where it reads about a daemon, node or proof
	most  int64  // bytes of JSON that it reads of one answer; 0: maxAnswer
}

// Looking returns a client whose questions about one daemon, node or proof take the
// beginning of an id, of at least four digits, where nothing is named so. What changes
// something takes whole references from it too.
func (c *Client) Looking() *Client {
	out := *c
	out.looks = true
	return &out
}

// lookedFor is the path of a question, which begins with a beginning of an id if need be.
func (c *Client) lookedFor(method, path string) string {
	head, _, one := strings.Cut(path, "/")
	if !c.looks || method != http.MethodGet || !one || head != "daemons" && head != "nodes" && head != "proofs" {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&prefix=true"
	}
	return path + "?prefix=true"
}

// Keyed returns a client whose events to groups have the key: a group whose strategy is
// consistent-hash gives all events of a key to one member, while it is well.
func (c *Client) Keyed(key string) *Client {
	out := *c
	out.key = key
	return &out
}

// Bearing returns a client that shows the node an API token.
func (c *Client) Bearing(token string) *Client {
	out := *c
	out.token = token
	return &out
}

// Trace returns a client whose requests belong to the trace that parent names, as
// the header traceparent of W3C Trace Context does.
func (c *Client) Trace(parent string) *Client {
	out := *c
	out.trace = parent
	return &out
}

// NewClient makes a client over any transport.
func NewClient(t http.RoundTripper) *Client {
	return &Client{http: &http.Client{Transport: t}, base: "http://node"}
}

// DialTLS makes a client of the node whose API is at base, such as
// https://host:7444, by an API token. roots are who may have signed the node's
// certificate; nil: who the machine trusts.
func DialTLS(base, token string, roots *x509.CertPool) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), token: token,
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}}}
}

// Dial makes a client of the node that listens on a unix socket.
func Dial(socket string) *Client {
	return NewClient(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, noNode(socket, err)
			}
			return c, nil
		},
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	})
}

func noNode(socket string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("opening the control socket %s: %w", socket, err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%w on %s: %w: %w", ErrNoNode, socket, ErrUnreachable, err)
}

// do sends a request and returns the answer's body, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, header http.Header) (io.ReadCloser, error) {
	res, _, err := c.ask(ctx, method, path, body, header)
	return res, err
}

// ask is do, with the answer's header.
func (c *Client) ask(ctx context.Context, method, path string, body io.Reader, header http.Header) (io.ReadCloser, http.Header, error) {
	if strings.Contains(path, "/"+emptySegment) {
		return nil, nil, NewProblem("bad-name", "not a valid name: it is empty")
	}
	target := c.base + path // of what is no part of the API's version, as /readyz is
	if !strings.HasPrefix(path, "/") {
		target = c.base + "/v1/" + c.lookedFor(method, path)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, nil, NewProblem("bad-request", "bad request: "+err.Error())
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.trace != "" {
		req.Header.Set("Traceparent", c.trace)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, nil, broken(ctx, err)
	}
	if res.StatusCode < 300 {
		return res.Body, res.Header, nil
	}
	defer res.Body.Close()
	p := &Problem{}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxJSON))
	if err == nil {
		err = json.Unmarshal(b, p)
	}
	if err != nil || p.Code == "" {
		return nil, nil, fmt.Errorf("the node answered %s: %.200s", res.Status, b)
	}
	return nil, nil, p
}

// Ready returns nil where the node takes events, or why not: a *Problem, such as not-ready,
// shutting-down or holding.
func (c *Client) Ready(ctx context.Context) error {
	res, err := c.do(ctx, http.MethodGet, "/readyz", nil, nil)
	if err != nil {
		return err
	}
	return res.Close()
}

// broken is the error of a connection that broke.
func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: the connection to the node broke: %w", ErrUnreachable, err)
}

// readError is the error of an answer that cannot be read: what broke, or what
// is no answer.
func readError(ctx context.Context, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, ErrAnswerTooLarge) {
		return fmt.Errorf("reading the node's answer: %w", err)
	}
	return broken(ctx, err)
}

// emptySegment stands for an empty name, which no path can have: do refuses it.
const emptySegment = "%00"

// segment is a name as one part of a path.
func segment(name string) string {
	switch name {
	case "":
		return emptySegment
	case ".", "..":
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// call fills into from a JSON answer; a nil into expects none.
func (c *Client) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	res, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer res.Close()
	if into == nil {
		return nil
	}
	return c.answer(res).decode(ctx, into)
}

// callWith is call with a header and without a body.
func (c *Client) callWith(ctx context.Context, method, path string, header http.Header, into any) error {
	res, err := c.do(ctx, method, path, nil, header)
	if err != nil {
		return err
	}
	defer res.Close()
	return c.answer(res).decode(ctx, into)
}

func jsonBody(v any) (io.Reader, error) {
	b, err := json.Marshal(v)
	return bytes.NewReader(b), err
}

// Node returns the node itself.
func (c *Client) Node(ctx context.Context) (out Node, err error) {
	return out, c.call(ctx, "GET", "node", nil, &out)
}

// NodeFor is Node, which says how it would do for a daemon of the kind; an empty kind is
// none.
func (c *Client) NodeFor(ctx context.Context, kind string) (out Node, err error) {
	path := "node"
	if kind != "" {
		path += "?" + url.Values{"kind": {kind}}.Encode()
	}
	return out, c.call(ctx, "GET", path, nil, &out)
}

// Nodes returns the node and its peers.
func (c *Client) Nodes(ctx context.Context) (out []Node, err error) {
	return out, c.call(ctx, "GET", "nodes", nil, &out)
}

// NodeOf returns the node, or a peer of it, by a whole reference.
func (c *Client) NodeOf(ctx context.Context, ref string) (out Node, err error) {
	return out, c.call(ctx, "GET", "nodes/"+segment(ref), nil, &out)
}

// Token issues a join token; who joins with it gets the rights.
func (c *Client) Token(ctx context.Context, ttl time.Duration, rights string) (out Token, err error) {
	return out, c.call(ctx, "POST", "token?ttl="+url.QueryEscape(ttl.String())+"&rights="+url.QueryEscape(rights), nil, &out)
}

// Join makes the node and the one that issued the token trust each other, and
// returns that one.
func (c *Client) Join(ctx context.Context, token string) (out Node, err error) {
	body, err := jsonBody(Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "join", body, &out)
}

// JoinWith is Join that grants only these rights to the node that issued the token.
func (c *Client) JoinWith(ctx context.Context, token, rights string) (out Node, err error) {
	body, err := jsonBody(Token{Token: token})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "join?rights="+url.QueryEscape(rights), body, &out)
}

// Grant sets what a trusted node may do.
func (c *Client) Grant(ctx context.Context, node, rights string) (out Node, err error) {
	return out, c.call(ctx, "PUT", "trust/"+segment(node)+"?rights="+url.QueryEscape(rights), nil, &out)
}

// Distrust ends the trust in a node, and returns which it was.
func (c *Client) Distrust(ctx context.Context, node string) (out Node, err error) {
	return out, c.call(ctx, "DELETE", "trust/"+segment(node), nil, &out)
}

// PushKind uploads a module.
func (c *Client) PushKind(ctx context.Context, name string, wasm io.Reader, limits ...string) (out Kind, err error) {
	return c.PushKindTo(ctx, name, wasm, PushTo{Limits: limits})
}

// PushTo is what goes with a kind that is pushed.
type PushTo struct {
	Limits     []string // NAME=VALUE, as host.ParseLimits reads them
	Nodes      []string // that are to have it beside the node that is asked; or "all"
	Signatures []string // of the module, as host.ParseModuleSignature reads them
}

// PushKindTo is PushKind to the node and to others that it trusts. What these say against
// it is in the answer's Nodes.
func (c *Client) PushKindTo(ctx context.Context, name string, wasm io.Reader, p PushTo) (out Kind, err error) {
	path := "kinds/" + segment(name)
	if q := (url.Values{"limit": p.Limits, "to": p.Nodes}).Encode(); q != "" {
		path += "?" + q
	}
	res, err := c.do(ctx, "PUT", path, wasm, http.Header{signatureHeader: p.Signatures})
	if err != nil {
		return out, err
	}
	defer res.Close()
	return out, c.answer(res).decode(ctx, &out)
}

// Kinds lists the kinds.
func (c *Client) Kinds(ctx context.Context) (out []Kind, err error) {
	return pages[Kind](ctx, c, "kinds")
}

// Kind returns one kind with its report.
func (c *Client) Kind(ctx context.Context, name string) (out Kind, err error) {
	return out, c.call(ctx, "GET", "kinds/"+segment(name), nil, &out)
}

// PullKind returns the kind's module. The caller closes it.
func (c *Client) PullKind(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "kinds/"+segment(name)+"/module", nil, nil)
}

// PullModule is PullKind of a module of that digest, which may have been the kind's
// before.
func (c *Client) PullModule(ctx context.Context, kind string, digest [32]byte) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "kinds/"+segment(kind)+"/module?digest="+hex.EncodeToString(digest[:]), nil, nil)
}

// RemoveKind forgets a kind, and returns what it was.
func (c *Client) RemoveKind(ctx context.Context, name string) (out Kind, err error) {
	return out, c.call(ctx, "DELETE", "kinds/"+segment(name), nil, &out)
}

// Spawn makes a daemon.
func (c *Client) Spawn(ctx context.Context, req Spawn) (out Daemon, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "daemons", body, &out)
}

// Daemons lists the node's daemons; with all, those of its peers too.
func (c *Client) Daemons(ctx context.Context, all bool) (out []Daemon, err error) {
	path := "daemons"
	if all {
		path += "?all=true"
	}
	return pages[Daemon](ctx, c, path)
}

func daemonPath(ref, rest string) string { return "daemons/" + segment(ref) + rest }

// Daemon returns one daemon, wherever it is.
func (c *Client) Daemon(ctx context.Context, ref string) (out Daemon, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, ""), nil, &out)
}

// DaemonHere returns a daemon that is on the node itself.
func (c *Client) DaemonHere(ctx context.Context, ref string) (out Daemon, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "?local=true"), nil, &out)
}

// Remove ends a daemon for good, and returns where it stood.
func (c *Client) Remove(ctx context.Context, ref string) (out Daemon, err error) {
	return out, c.call(ctx, "DELETE", daemonPath(ref, ""), nil, &out)
}

// Stop stops a daemon until Start.
func (c *Client) Stop(ctx context.Context, ref string) (out Daemon, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/stop"), nil, &out)
}

// Start starts a daemon that Stop stopped.
func (c *Client) Start(ctx context.Context, ref string) (out Daemon, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, "/start"), nil, &out)
}

// sending is the path of what is sent under an id, and to groups by the client's key.
func (c *Client) sending(path, id string) string {
	q := url.Values{}
	if id != "" {
		q.Set("id", id)
	}
	if c.key != "" {
		q.Set("key", c.key)
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// Send delivers one event, to a daemon or to group/NAME, and returns when it is durable. An event with an id,
// as ParseEventID reads it, is applied once however often it is sent; one with
// an empty id is another event each time.
func (c *Client) Send(ctx context.Context, ref, id string, payload []byte) (out Sent, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, c.sending("/events", id)), bytes.NewReader(payload), &out)
}

// SendAll delivers the events that next returns, in order and pipelined, until
// it returns io.EOF; fn gets what became of each, in order. A failed event is
// in Sent.Error and stops nothing, unless Sent.Stopped says so. id, if any, is
// that of the first event; the numbers of the others follow.
func (c *Client) SendAll(ctx context.Context, ref, id string, next func() ([]byte, error), fn func(Sent) error) error {
	return pipeline(ctx, c, daemonPath(ref, c.sending("/stream", id)), nil, next, func(s Sent, enough func()) error {
		if s.Stopped {
			enough()
		}
		return fn(s)
	})
}

// pipeline posts what next returns, as frames, until it returns io.EOF, while fn
// gets the lines of the answer. fn calls enough when the node takes no more.
func pipeline[T any](ctx context.Context, c *Client, path string, header http.Header, next func() ([]byte, error), fn func(line T, enough func()) error) error {
	body, w := io.Pipe()
	read := make(chan error, 1) // why next ended
	go func() {
		err := frames(w, next)
		if err != io.EOF && !errors.Is(err, io.ErrClosedPipe) {
			read <- err
		}
		close(read)
		_ = w.Close() // what was read is sent to its end, and answered
	}()
	defer body.Close()
	res, err := c.do(ctx, "POST", path, body, header)
	if err != nil {
		return err
	}
	defer res.Close()
	enough := func() { _ = w.Close() } // never fails
	err = eachLine(ctx, c, res, func(line T) error { return fn(line, enough) })
	select {
	case readErr := <-read:
		if readErr != nil {
			return readErr
		}
	default: // next still waits for more
	}
	return err
}

// frames writes what next returns as frames until it returns io.EOF, which is
// then returned. What next delivers fast is gathered; it waits for nothing.
func frames(w io.Writer, next func() ([]byte, error)) error {
	var mu sync.Mutex
	buf := bufio.NewWriterSize(w, 64<<10)
	kick, stopped := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(stopped)
		for range kick {
			mu.Lock()
			err := buf.Flush()
			mu.Unlock()
			if err != nil { // the next write says the same
				return
			}
		}
	}()
	for {
		payload, err := next()
		mu.Lock()
		if err == nil {
			err = canon.WriteFrame(buf, payload)
		} else if flushErr := buf.Flush(); err == io.EOF && flushErr != nil {
			err = flushErr
		}
		mu.Unlock()
		if err != nil {
			close(kick)
			<-stopped
			return err
		}
		select {
		case kick <- struct{}{}:
		default:
		}
	}
}

// eachLine decodes the JSON lines that c is answered until the end.
func eachLine[T any](ctx context.Context, c *Client, r io.Reader, fn func(T) error) error {
	a := c.answer(r)
	most := a.left
	d := json.NewDecoder(bufio.NewReaderSize(a, 64<<10))
	for {
		a.left = most // of each line
		var v T
		if err := d.Decode(&v); err == io.EOF {
			return nil
		} else if err != nil {
			return readError(ctx, err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// Snapshot returns the daemon's snapshot. The caller closes it.
func (c *Client) Snapshot(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", daemonPath(ref, "/snapshot"), nil, nil)
}

// Restore makes a daemon of a snapshot. seed is its identity's, or nil when
// the snapshot carries it for this node.
func (c *Client) Restore(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out Daemon, err error) {
	return c.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}}, seed)
}

// RestoreUnsigned is Restore of a snapshot that its daemon has not signed: the caller
// answers for what is in it.
func (c *Client) RestoreUnsigned(ctx context.Context, snapshot io.Reader, kind, name string, seed []byte) (out Daemon, err error) {
	return c.restore(ctx, snapshot, url.Values{"kind": {kind}, "name": {name}, "unsigned": {"true"}}, seed)
}

func (c *Client) restore(ctx context.Context, snapshot io.Reader, q url.Values, seed []byte) (out Daemon, err error) {
	h := http.Header{}
	if seed != nil {
		h.Set(identityHeader, hex.EncodeToString(seed))
	}
	for name, values := range q {
		if values[0] == "" {
			q.Del(name) // an empty parameter is refused
		}
	}
	path := "snapshots"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	res, err := c.do(ctx, "POST", path, snapshot, h)
	if err != nil {
		return out, err
	}
	defer res.Close()
	return out, c.answer(res).decode(ctx, &out)
}

// Chain returns the daemon's chain file. The caller closes it.
func (c *Client) Chain(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", daemonPath(ref, "/chain"), nil, nil)
}

// Migrate moves the daemon and returns when it has moved; fn gets what
// happens. With req.Detach it returns nil, nil at once.
func (c *Client) Migrate(ctx context.Context, ref string, req Migrate, fn func(MigrationStep)) (*MigrationReport, error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}
	res, err := c.do(ctx, "POST", daemonPath(ref, "/migrate"), body, nil)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	var report *MigrationReport
	err = eachLine(ctx, c, res, func(s MigrationStep) error {
		if s.Error != nil {
			return s.Error
		}
		if s.Phase != "" {
			fn(s)
		}
		report = s.Report
		return nil
	})
	if err == nil && report == nil && !req.Detach {
		err = fmt.Errorf("%w: the node stopped answering while the daemon migrated", ErrUnreachable)
	}
	return report, err
}
