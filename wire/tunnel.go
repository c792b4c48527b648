package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/identity"
)

// streamConn is a stream as a net.Conn.
type streamConn struct {
	*quic.Stream
	local, remote net.Addr
	from          identity.NodeID
}

func (c *streamConn) LocalAddr() net.Addr  { return c.local }
func (c *streamConn) RemoteAddr() net.Addr { return c.remote }

// Close ends both directions; what was written still arrives.
func (c *streamConn) Close() error {
	c.CancelRead(codeDone)
	return c.Stream.Close()
}

// HTTPTransport sends HTTP requests to the peer's handler, over streams of the
// session: one stream for each request.
func (m *Mesh) HTTPTransport(id identity.NodeID) http.RoundTripper {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			s, err := m.open(ctx, id, purposeTunnel)
			if err != nil {
				return nil, err
			}
			return &streamConn{Stream: s, local: m.Addr(), remote: m.Addr(), from: id}, nil
		},
	}
}

// ServeHTTP makes h answer the requests that peers send. h learns who asks
// from PeerOf.
func (m *Mesh) ServeHTTP(h http.Handler) { m.tunnel.setHandler(h) }

type peerKeyType struct{}

// PeerOf returns the node that sent a request through the mesh; false for one
// that came another way.
func PeerOf(ctx context.Context) (identity.NodeID, bool) {
	id, ok := ctx.Value(peerKeyType{}).(identity.NodeID)
	return id, ok
}

// tunnel is a net.Listener of streams, and the HTTP server on it.
type tunnel struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	server *http.Server
	addr   net.Addr

	mu      sync.Mutex
	handler http.Handler
	has     chan struct{} // closed once there is a handler
}

// handlerWait is how long a request waits for a node that begins and has no handler yet. An
// answer that is no problem of the API would tell a client nothing that it can act on.
const handlerWait = 10 * time.Second

// handle returns the handler, and waits for it; nil: there is none for this request.
func (t *tunnel) handle(ctx context.Context) http.Handler {
	wait := time.NewTimer(handlerWait)
	defer wait.Stop()
	select {
	case <-t.has:
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return nil
	case <-t.closed:
		return nil
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handler
}

func (t *tunnel) start(m *Mesh) {
	t.conns, t.closed, t.has, t.addr = make(chan net.Conn), make(chan struct{}), make(chan struct{}), m.Addr()
	t.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := t.handle(r.Context())
			if h == nil {
				http.Error(w, "this node answers no requests", http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(m.config.Logger.Handler(), slog.LevelDebug),
		MaxHeaderBytes:    16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKeyType{}, c.(*streamConn).from)
		},
	}

	m.work.Go(func() {
		if err := t.server.Serve(t); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			m.config.Logger.Error("serving peers", "error", err)
		}
	})
}

func (t *tunnel) setHandler(h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handler == nil {
		close(t.has)
	}
	t.handler = h
}

func (t *tunnel) offer(c net.Conn) {
	select {
	case t.conns <- c:
	case <-t.closed:
		_ = c.Close() // the session is ending
	}
}

// Accept implements net.Listener.
func (t *tunnel) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (t *tunnel) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

// Addr implements net.Listener.
func (t *tunnel) Addr() net.Addr { return t.addr }

func (t *tunnel) close() error { return t.server.Close() }
