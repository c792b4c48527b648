package hosttest

import (
	"context"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// PeerIDs returns the other nodes of the net.
func (m *Mesh) PeerIDs() []identity.NodeID {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	var out []identity.NodeID
	for id := range m.net.meshes {
		if id != m.id {
			out = append(out, id)
		}
	}

	return out
}

// OpenChannel implements host.Peer. The other side's handler runs on a
// goroutine of its own.
func (p *peer) OpenChannel(ctx context.Context) (channel.Conn, error) {
	to, err := p.reach()
	if err != nil {
		return nil, err
	}

	to.mu.Lock()
	h := to.handler
	to.mu.Unlock()
	a, b := channel.Pipe()
	n := p.from.net
	near, far := &channelConn{a, n, p.from, to}, &channelConn{b, n, to, p.from}
	stop := context.AfterFunc(ctx, near.Abort)
	n.mu.Lock()
	if n.channels == nil {
		n.channels = make(map[*channelConn]struct{})
	}

	n.channels[near] = struct{}{}
	access := mesh.AccessChannels | mesh.AccessOutputs
	if n.Access != nil {
		access = n.Access(p.from.id, to.id)
	}
	n.mu.Unlock()
	go func() {
		defer func() {
			stop()
			n.mu.Lock()
			defer n.mu.Unlock()
			delete(n.channels, near)
		}()

		if h != nil {
			h.HandleChannel(context.Background(), p.from.id, access, far)
		}

		_ = far.Close() // a pipe's never fails
	}()

	return near, nil
}

// channelConn is one end of a pipe whose messages cross encoded.
type channelConn struct {
	channel.Conn
	net      *Net
	from, to *Mesh
}

// Send implements channel.Conn.
func (c *channelConn) Send(m channel.Message) error {
	if f := c.net.ChannelFilter; f != nil && !f(c.from.id, c.to.id, m) {
		c.Abort()
	}

	b, err := channel.Encode(nil, m)
	if err != nil {
		return err
	}
	if m, err = channel.Decode(b); err != nil {
		return err
	}

	return c.Conn.Send(m)
}

// CutChannels breaks every open stream about channels.
func (n *Net) CutChannels() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.channels {
		c.Abort()
	}
}
