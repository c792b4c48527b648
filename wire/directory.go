package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// Nodes of a cluster without a vote in its directory ask one that has: what they may ask
// is in package directory, and each request is a stream of the session, which proves who
// asks.

// Bounds on what one peer has open at this node's directory.
const (
	maxDirectoryRequests = 64               // requests that one peer has open at this node's directory
	maxDirectoryWatches  = 4                // watches that one peer has open there
	directoryWriteWait   = 10 * time.Second // for a peer to take an answer
)

// directoryLoad is what a peer has open.
type directoryLoad struct{ requests, watches int }

// ServeDirectory answers what peers ask of the directory, by g; nil: nothing any more.
func (m *Mesh) ServeDirectory(g *directory.Guard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.directory = g; g != nil {
		g.OnRefused(m.noteDenied)
	}
}

func (m *Mesh) serveDirectory(ctx context.Context, conn *quic.Conn, from identity.NodeID, stream *quic.Stream) {
	err := m.answerDirectory(ctx, conn, from, stream)
	stream.CancelRead(codeDone)
	if err != nil {
		m.config.Logger.Debug("answering for the cluster's directory", "from", from, "error", err)
		stream.CancelWrite(codeAborted)
		return
	}
	_ = stream.Close() // what was written still arrives
}

func (m *Mesh) answerDirectory(ctx context.Context, conn *quic.Conn, from identity.NodeID, stream *quic.Stream) error {
	w := bufio.NewWriter(stream)
	send := func(b []byte) error {
		if err := stream.SetWriteDeadline(time.Now().Add(directoryWriteWait)); err != nil {
			return err
		}
		if err := canon.WriteFrame(w, b); err != nil {
			return err
		}
		return w.Flush()
	}

	caller, err := m.directoryCaller(conn, from)
	if err != nil {
		return send(directory.Refusal(err))
	}

	done, err := m.beginAsking(from, false)
	if err != nil {
		return send(directory.Refusal(err))
	}

	defer done()
	m.mu.Lock()
	g := m.directory
	m.mu.Unlock()
	if g == nil {
		return send(directory.Refusal(fmt.Errorf("%w: node %s has no vote", directory.ErrEngine, m.id)))
	}
	if err := stream.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}

	b, err := canon.ReadFrame(stream, directory.MaxRequest)
	if err != nil {
		m.noteDenied(from)
		m.config.Logger.Warn("refused a request to the cluster's directory", "node", from, "error", err)
		return send(directory.Refusal(fmt.Errorf("%w: %w", directory.ErrMalformed, err)))
	}

	if directory.IsWatch(b) {
		watched, err := m.beginAsking(from, true)
		if err != nil {
			return send(directory.Refusal(err))
		}
		defer watched()
	}

	return g.Serve(ctx, caller, b, send)
}

// directoryCaller is who asks: the key that the session proved, with its rights here.
func (m *Mesh) directoryCaller(conn *quic.Conn, from identity.NodeID) (c directory.Caller, err error) {
	if c.Key, err = peerKey(conn.ConnectionState().TLS); err != nil {
		return c, err
	}

	p, err := m.trusted(from)
	if err == nil && p.Key != c.Key {
		err = ErrUntrusted
	}

	if err != nil {
		return c, fmt.Errorf("%w: %w", directory.ErrDenied, err)
	}

	c.Rights, c.Decides = uint8(p.Rights), p.Rights&trust.RightsVoter == trust.RightsVoter
	return c, nil
}

// beginAsking counts a request, or a watch, of a peer; the caller calls done at its end.
// directory.ErrBusy if the peer has too many.
func (m *Mesh) beginAsking(from identity.NodeID, watch bool) (done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.asking[from]
	if l == nil {
		l = &directoryLoad{}
		m.asking[from] = l
	}

	n, limit, what := &l.requests, maxDirectoryRequests, "requests"
	if watch {
		n, limit, what = &l.watches, maxDirectoryWatches, "watches"
	}

	if *n >= limit {
		return nil, fmt.Errorf("%w: %d %s, the limit is %d", directory.ErrBusy, *n, what, limit)
	}

	*n++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if *n--; l.requests == 0 && l.watches == 0 {
			delete(m.asking, from)
		}
	}, nil
}

// Introduce makes a node trusted with rights that another member of the cluster granted
// it; one that is trusted already keeps those that it has.
func (m *Mesh) Introduce(key identity.EntityID, rights trust.Rights) error {
	if key.Node() == m.id {
		return nil
	}

	m.trusting.Lock()
	defer m.trusting.Unlock()

	_, err := m.trusted(key.Node())
	if !errors.Is(err, mesh.ErrUnknownNode) {
		return err
	}
	if err := m.config.Trust.Put(trust.Peer{Key: key, Added: m.config.Clock(), Rights: rights & trust.RightsVoter}); err != nil {
		return fmt.Errorf("trusting node %s of this node's cluster: %w", key.Node(), err)
	}

	return nil
}

// Met sets the name and the address of a trusted node, as the cluster has them, unless a
// session says better. host.ErrUnknownNode if the node is not trusted.
func (m *Mesh) Met(key identity.EntityID, name, addr string) error {
	if key.Node() == m.id {
		return nil
	}

	m.trusting.Lock()
	defer m.trusting.Unlock()

	p, err := m.trusted(key.Node())
	if err != nil {
		return err
	}
	if p.Key != key {
		return fmt.Errorf("%w: %s", ErrUntrusted, key)
	}
	if p.Name == name && p.Addr == addr || m.connected(key.Node()) {
		return nil
	}

	p.Name, p.Addr = m.peerName(p, key, name, false), addr
	if err := m.config.Trust.Put(p); err != nil {
		return fmt.Errorf("keeping where node %s is: %w", key.Node(), err)
	}
	return nil
}

// OnJoin has fn called for each node that comes to be trusted by a token, with the rights
// that the token gave it, until ctx ends, which is when the mesh closes.
func (m *Mesh) OnJoin(fn func(ctx context.Context, key identity.EntityID, rights trust.Rights)) {
	m.joined.Store(&fn)
}

func (m *Mesh) connected(id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	return s != nil && s.alive()
}

// Lost ends the session with a node that is known to be gone, so that nobody waits
// for what it does not answer. A node that is there after all is dialled again.
func (m *Mesh) Lost(id identity.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sessions[id]; s != nil && s.alive() {
		s.close(codeDone, "the cluster's directory says that the node is gone")
		delete(m.sessions, id)
	}
}

// Reach is the address that this node tells others to reach it at.
func (m *Mesh) Reach() string { return m.announced() }
