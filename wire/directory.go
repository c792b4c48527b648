package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"wasmhost/host"
	"wasmhost/identity"
)

// Nodes of a cluster that have no part in its directory themselves ask one that
// has: what they ask goes over streams of the session, as a network would carry it.

// DialDirectory opens a connection to the directory at a trusted node. host.ErrUnreachable.
func (m *Mesh) DialDirectory(ctx context.Context, id identity.NodeID) (net.Conn, error) {
	s, err := m.open(ctx, id, purposeDirectory)
	if err != nil {
		return nil, err
	}
	return &streamConn{Stream: s, local: m.Addr(), remote: m.Addr(), from: id}, nil
}

// ListenDirectory returns the listener of the connections that DialDirectory opens
// at this node, by nodes that may operate it. Close ends it; there is one at a time.
func (m *Mesh) ListenDirectory() net.Listener {
	l := &directoryListener{m: m, conns: make(chan net.Conn), closed: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.directory = l
	return l
}

func (m *Mesh) serveDirectory(conn *quic.Conn, from identity.NodeID, stream *quic.Stream) {
	m.mu.Lock()
	l := m.directory
	m.mu.Unlock()
	if err := m.Allow(from, MemberRights, "the cluster's directory"); err != nil || l == nil {
		cut(stream)
		return
	}
	select {
	case l.conns <- &streamConn{Stream: stream, local: conn.LocalAddr(), remote: conn.RemoteAddr(), from: from}:
	case <-l.closed:
		cut(stream)
	case <-stream.Context().Done():
	}
}

type directoryListener struct {
	m      *Mesh
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *directoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *directoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *directoryListener) Addr() net.Addr { return l.m.Addr() }

// MemberRights are what the nodes of a cluster need of each other.
const MemberRights = RightOperate | RightMigrate

// Introduce makes a node trusted that this one knows of from its cluster, with all
// rights; one that is trusted already keeps those that it has, and its address is
// set where no session says better.
func (m *Mesh) Introduce(key identity.EntityID, name, addr string) error {
	if key.Node() == m.id {
		return nil
	}
	p, err := m.trusted(key.Node())
	switch {
	case errors.Is(err, host.ErrUnknownNode):
		p = TrustedPeer{Key: key, Added: m.config.Clock(), Rights: RightsAll}
	case err != nil:
		return err
	case p.Name == name && p.Addr == addr || m.connected(key.Node()):
		return nil
	}
	p.Name, p.Addr = name, addr
	if err := m.config.Trust.Put(p); err != nil {
		return fmt.Errorf("trusting node %s of this node's cluster: %w", key.Node(), err)
	}
	return nil
}

// OnJoin has fn called for each node that comes to be trusted by a token, until ctx
// ends, which is when the mesh closes.
func (m *Mesh) OnJoin(fn func(ctx context.Context, key identity.EntityID)) { m.joined.Store(&fn) }

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
