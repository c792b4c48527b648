// Package hosttest joins several runtimes in one process by links that can be
// cut, for tests of what happens between hosts.
package hosttest

import (
	"context"
	"fmt"
	"io"
	"sync"

	"wasmhost/host"
	"wasmhost/host/migration"
	"wasmhost/identity"
)

// Net joins meshes. The zero Net is ready for use; it is safe for concurrent
// use.
type Net struct {
	// Filter, where it is not nil, sees every message before it arrives. It
	// cuts the connection by returning false. It is set before the first
	// connection.
	Filter func(from, to identity.NodeID, m migration.Message) bool

	mu     sync.Mutex
	meshes map[identity.NodeID]*Mesh
	down   map[identity.NodeID]bool
}

// Join adds a node to the net.
func (n *Net) Join(key *identity.KeyPair) (*Mesh, error) {
	seal, err := key.SealKey()
	if err != nil {
		return nil, err
	}
	m := &Mesh{net: n, id: key.ID().Node(), seal: seal}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.meshes == nil {
		n.meshes, n.down = make(map[identity.NodeID]*Mesh), make(map[identity.NodeID]bool)
	}
	n.meshes[m.id] = m
	return m, nil
}

// SetDown makes the node unreachable, or reachable again. Connections that are
// open stay so.
func (n *Net) SetDown(id identity.NodeID, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[id] = down
}

// Mesh is one node's view of the net. It implements host.Mesh.
type Mesh struct {
	net  *Net
	id   identity.NodeID
	seal identity.SealKey

	mu      sync.Mutex
	handler host.Handler
}

// Handle implements host.Mesh.
func (m *Mesh) Handle(h host.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handler = h
}

// Handled reports whether a handler is installed.
func (m *Mesh) Handled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handler != nil
}

// Peer implements host.Mesh.
func (m *Mesh) Peer(id identity.NodeID) (host.Peer, error) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	p, ok := m.net.meshes[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", host.ErrUnknownNode, id)
	}
	return &peer{from: m, to: p}, nil
}

type peer struct{ from, to *Mesh }

func (p *peer) ID() identity.NodeID { return p.to.id }

func (p *peer) SealKey(context.Context) (identity.SealKey, error) { return p.to.seal, p.reach() }

func (p *peer) reach() error {
	n := p.from.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down[p.to.id] || n.down[p.from.id] {
		return fmt.Errorf("%w: %s", host.ErrUnreachable, p.to.id)
	}
	return nil
}

// OpenMigration implements host.Peer. The other side's handler runs on a
// goroutine of its own.
func (p *peer) OpenMigration(ctx context.Context) (migration.Conn, error) {
	if err := p.reach(); err != nil {
		return nil, err
	}
	p.to.mu.Lock()
	h := p.to.handler
	p.to.mu.Unlock()
	near, far := p.pipe()
	stop := context.AfterFunc(ctx, near.Abort)
	go func() {
		defer stop()
		if h == nil {
			if _, err := far.Recv(); err == nil {
				err = far.Send(migration.NewRefuse(migration.Failf(migration.ComputeNotSupported, "node %s runs no daemons", p.to.id)))
				if err != nil {
					far.Abort()
				}
			}
		} else {
			h.HandleMigration(context.Background(), p.from.id, far)
		}
		if err := far.Close(); err != nil {
			far.Abort()
		}
	}()
	return near, nil
}

func (p *peer) pipe() (near, far *conn) {
	cut := make(chan struct{})
	once := &sync.Once{}
	a, b := make(chan []byte, 16), make(chan []byte, 16)
	near = &conn{net: p.from.net, from: p.from.id, to: p.to.id, in: a, out: b, cut: cut, once: once, ended: make(chan struct{})}
	far = &conn{net: p.from.net, from: p.to.id, to: p.from.id, in: b, out: a, cut: cut, once: once, ended: make(chan struct{})}
	near.peerEnded, far.peerEnded = far.ended, near.ended
	return near, far
}

// conn is one end of a connection. Messages cross it encoded.
type conn struct {
	net        *Net
	from, to   identity.NodeID
	in         <-chan []byte
	out        chan<- []byte
	cut        chan struct{} // closed when either end aborts
	once       *sync.Once
	ended      chan struct{} // closed by Close
	peerEnded  <-chan struct{}
	closedOnce sync.Once
}

func (c *conn) Send(m migration.Message) error {
	if f := c.net.Filter; f != nil && !f(c.from, c.to, m) {
		c.Abort()
	}
	b, err := migration.Encode(nil, m)
	if err != nil {
		return err
	}
	select {
	case <-c.cut:
		return io.ErrClosedPipe
	case <-c.ended:
		return io.ErrClosedPipe
	default:
	}
	select {
	case c.out <- b:
		return nil
	case <-c.cut:
		return io.ErrClosedPipe
	case <-c.peerEnded:
		return io.ErrClosedPipe
	}
}

func (c *conn) Recv() (migration.Message, error) {
	select {
	case <-c.cut:
		return nil, io.ErrUnexpectedEOF
	default:
	}
	select {
	case b := <-c.in:
		return migration.Decode(b)
	case <-c.cut:
		return nil, io.ErrUnexpectedEOF
	case <-c.peerEnded:
		select {
		case b := <-c.in: // what was sent before the close still arrives
			return migration.Decode(b)
		default:
			return nil, io.EOF
		}
	}
}

func (c *conn) Close() error {
	c.closedOnce.Do(func() { close(c.ended) })
	return nil
}

func (c *conn) Abort() { c.once.Do(func() { close(c.cut) }) }
