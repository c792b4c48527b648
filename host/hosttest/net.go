// Package hosttest joins several runtimes in one process by links that can be
// cut, for tests of what happens between hosts.
package hosttest

import (
	"context"
	"fmt"
	"io"
	"sync"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// Net joins meshes. The zero Net is ready for use; it is safe for concurrent
// use.
type Net struct {
	// Filter, where it is not nil, sees every message before it arrives. It
	// cuts the connection by returning false. It is set before the first
	// connection.
	Filter func(from, to identity.NodeID, m migration.Message) bool
	// Rewrite, where it is not nil, returns what arrives in place of a message that was
	// sent. It is set before the first connection.
	Rewrite func(m migration.Message) migration.Message
	// Taken, where it is not nil, sees every message that arrived before the
	// receiver acts on it: a connection that breaks meanwhile no longer stops
	// it. It is set before the first connection.
	Taken func(from, to identity.NodeID, m migration.Message)

	// ChannelFilter is Filter for messages about channels.
	ChannelFilter func(from, to identity.NodeID, m channel.Message) bool
	// Access, where it is not nil, is what a node may do without a token at
	// another; else everything. It is set before the first connection.
	Access func(from, to identity.NodeID) mesh.ChannelAccess

	// WrapStandby, where it is not nil, stands between a node and the near end of a
	// stream that it opens to a standby. It is set before the first connection.
	WrapStandby func(from, to identity.NodeID, c standby.Conn) standby.Conn

	channels map[*channelConn]struct{} // the near ends of open ones
	standbys map[*standbyPipe]struct{} // the same

	mu     sync.Mutex
	meshes map[identity.NodeID]*Mesh
	down   map[identity.NodeID]bool
	pipes  map[*conn]struct{} // the near ends of open connections

	answering int           // handlers of open connections
	quiet     chan struct{} // closed when there are none; nil: nobody waits for that
}

// Settle waits until no handler answers any more. New ones may come meanwhile.
func (n *Net) Settle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.answering > 0 {
		if n.quiet == nil {
			n.quiet = make(chan struct{})
		}
		quiet := n.quiet
		n.mu.Unlock()
		<-quiet
		n.mu.Lock()
	}
}

// answer runs fn on a goroutine that Settle waits for.
func (n *Net) answer(fn func()) {
	n.mu.Lock()
	n.answering++
	n.mu.Unlock()
	go func() {
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.answering--; n.answering == 0 && n.quiet != nil {
				close(n.quiet)
				n.quiet = nil
			}
		}()
		fn()
	}()
}

// Join adds a node to the net, in the place of an earlier one with its key.
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
		n.pipes = make(map[*conn]struct{})
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

// Crash cuts the node off for good: its connections break, what is on the way
// is lost, and what the mesh's user still does reaches nobody. A node of the
// same key may Join afterwards.
func (m *Mesh) Crash() {
	n := m.net
	n.mu.Lock()
	defer n.mu.Unlock()
	m.dead = true
	for c := range n.pipes {
		if c.meshes[0] == m || c.meshes[1] == m {
			c.Abort()
		}
	}

	for c := range n.channels {
		if c.from == m || c.to == m {
			c.Abort()
		}
	}

	n.cutStandbys(m)
}

// Mesh is one node's view of the net. It implements host.Mesh.
type Mesh struct {
	net  *Net
	id   identity.NodeID
	seal identity.SealKey
	dead bool // guarded by net.mu

	mu      sync.Mutex
	handler mesh.Handler
	none    bool // see NoDaemons
}

// NoDaemons makes the mesh that of a node that never runs daemons: without a handler
// it answers migration.ComputeNotSupported.
func (m *Mesh) NoDaemons() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.none = true
}

// refusal is the answer to a migration while there is no handler.
func (m *Mesh) refusal() *migration.Refuse {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.none {
		return migration.NewRefuse(migration.Failf(migration.ComputeNotSupported, "node %s runs no daemons", m.id))
	}
	return migration.NewRefuse(migration.Failf(migration.NotReady, "node %s is not ready: it starts, or ends", m.id))
}

// Self returns the node's id.
func (m *Mesh) Self() identity.NodeID { return m.id }

// Handle implements host.Mesh.
func (m *Mesh) Handle(h mesh.Handler) bool {
	m.mu.Lock()
	defer m.mu.Unlock()

	if h != nil && m.handler != nil {
		return false
	}

	m.handler = h
	return true
}

// Handled reports whether a handler is installed.
func (m *Mesh) Handled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handler != nil
}

// Peer implements host.Mesh.
func (m *Mesh) Peer(id identity.NodeID) (mesh.Peer, error) {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	p, ok := m.net.meshes[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", mesh.ErrUnknownNode, id)
	}
	return &peer{from: m, id: p.id}, nil
}

type peer struct {
	from *Mesh
	id   identity.NodeID
}

func (p *peer) ID() identity.NodeID { return p.id }

func (p *peer) SealKey(context.Context) (identity.SealKey, error) {
	to, err := p.reach()
	if err != nil {
		return identity.SealKey{}, err
	}
	return to.seal, nil
}

// reach returns the mesh that stands under the peer's id now.
func (p *peer) reach() (*Mesh, error) {
	n := p.from.net
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.meshes[p.id]
	if n.down[p.id] || n.down[p.from.id] || to.dead || p.from.dead {
		return nil, fmt.Errorf("%w: %s", mesh.ErrUnreachable, p.id)
	}
	return to, nil
}

// OpenMigration implements host.Peer. The other side's handler runs on a
// goroutine of its own.
func (p *peer) OpenMigration(ctx context.Context) (migration.Conn, error) {
	to, err := p.reach()
	if err != nil {
		return nil, err
	}

	to.mu.Lock()
	h := to.handler
	to.mu.Unlock()
	near, far := pipe(p.from, to)
	near.stop = context.AfterFunc(ctx, near.Abort)
	p.from.net.answer(func() {
		defer func() {
			near.stop()
			p.from.net.mu.Lock()
			delete(p.from.net.pipes, near)
			p.from.net.mu.Unlock()
		}()

		if h == nil {
			if _, err := far.Recv(); err == nil {
				err = far.Send(to.refusal())
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
	})

	return near, nil
}

func pipe(from, to *Mesh) (near, far *conn) {
	cut := make(chan struct{})
	once := &sync.Once{}
	a, b := make(chan []byte, 16), make(chan []byte, 16)
	near = &conn{net: from.net, meshes: [2]*Mesh{from, to}, in: a, out: b, cut: cut, once: once, ended: make(chan struct{})}
	far = &conn{net: from.net, meshes: [2]*Mesh{to, from}, in: b, out: a, cut: cut, once: once, ended: make(chan struct{})}
	near.peerEnded, far.peerEnded = far.ended, near.ended
	from.net.mu.Lock()
	defer from.net.mu.Unlock()
	from.net.pipes[near] = struct{}{}
	if from.dead || to.dead { // since it was reached
		near.Abort()
	}

	return near, far
}

// conn is one end of a connection. Messages cross it encoded.
type conn struct {
	stop       func() bool // parts the connection from its context; nil at the far end
	net        *Net
	meshes     [2]*Mesh // this end's, and the other's
	in         <-chan []byte
	out        chan<- []byte
	cut        chan struct{} // closed when either end aborts
	once       *sync.Once
	ended      chan struct{} // closed by Close
	peerEnded  <-chan struct{}
	closedOnce sync.Once
}

func (c *conn) Send(m migration.Message) error {
	if f := c.net.Filter; f != nil && !f(c.meshes[0].id, c.meshes[1].id, m) {
		c.Abort()
	}

	if rewrite := c.net.Rewrite; rewrite != nil {
		m = rewrite(m)
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
		select {
		case <-c.cut: // what was on the way is lost
			return nil, io.ErrUnexpectedEOF
		default:
			return c.take(b)
		}

	case <-c.cut:
		return nil, io.ErrUnexpectedEOF
	case <-c.peerEnded:
		select {
		case b := <-c.in: // what was sent before the close still arrives
			return c.take(b)
		default:
			return nil, io.EOF
		}
	}
}

func (c *conn) take(b []byte) (migration.Message, error) {
	m, err := migration.Decode(b)
	if err == nil && c.net.Taken != nil {
		c.net.Taken(c.meshes[1].id, c.meshes[0].id, m)
	}
	return m, err
}

func (c *conn) Close() error {
	if c.stop != nil {
		c.stop()
	}
	c.closedOnce.Do(func() { close(c.ended) })
	return nil
}

func (c *conn) Abort() { c.once.Do(func() { close(c.cut) }) }
