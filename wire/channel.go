package wire

import (
	"bufio"
	"context"
	"sync"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// OpenChannel implements host.Peer.
func (p *peer) OpenChannel(ctx context.Context) (channel.Conn, error) {
	stream, err := p.mesh.open(ctx, p.id, purposeChannel)
	if err != nil {
		return nil, err
	}
	c := newChannelConn(stream)
	c.stop = context.AfterFunc(ctx, func() { cut(stream) })
	return c, nil
}

// serveChannel gives a stream about channels to the host.
func (m *Mesh) serveChannel(ctx context.Context, from identity.NodeID, h mesh.Handler, stream *quic.Stream) {
	c := newChannelConn(stream)
	if h != nil {
		h.HandleChannel(ctx, from, m.ChannelAccess(from), c)
	} else if _, err := c.Recv(); err == nil {
		if err := c.Send(channel.Refuse(identity.EntityID{}, channel.ErrNotReady)); err != nil {
			m.config.Logger.Debug("refusing a channel stream", "from", from, "error", err)
		}
	}

	if err := c.Close(); err != nil {
		c.Abort()
	}
}

// ChannelAccess is what the peer may do without a token. What it asks for beyond
// that is refused where it asks.
func (m *Mesh) ChannelAccess(from identity.NodeID) (a mesh.ChannelAccess) {
	p, err := m.trusted(from)
	if err != nil {
		return 0
	}
	if p.Rights&trust.RightChannels != 0 {
		a |= mesh.AccessChannels
	}

	if p.Rights&trust.RightRead != 0 {
		a |= mesh.AccessOutputs
	}
	return a
}

// PeerIDs returns the trusted nodes.
func (m *Mesh) PeerIDs() []identity.NodeID {
	all, err := m.config.Trust.List()
	if err != nil {
		m.config.Logger.Warn("reading the trusted nodes", "error", err)
	}

	out := make([]identity.NodeID, 0, len(all))
	for _, t := range all {
		out = append(out, t.Key.Node())
	}
	return out
}

// channelConn is a stream that carries messages about channels.
type channelConn struct {
	stream *quic.Stream
	r      *bufio.Reader
	stop   func() bool

	mu  sync.Mutex // guards w and buf
	w   *bufio.Writer
	buf []byte
}

func newChannelConn(s *quic.Stream) *channelConn {
	return &channelConn{stream: s, r: bufio.NewReaderSize(s, 64<<10), w: bufio.NewWriterSize(s, 64<<10), stop: func() bool { return false }}
}

func (c *channelConn) Send(m channel.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := channel.Encode(c.buf[:0], m)
	if err != nil {
		return err
	}

	if c.buf = b[:0]; cap(b) > 64<<10 {
		c.buf = nil
	}
	return canon.WriteFrame(c.w, b)
}

func (c *channelConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Flush()
}

func (c *channelConn) Recv() (channel.Message, error) {
	b, err := canon.ReadFrame(c.r, channel.MaxMessage)
	if err != nil {
		return nil, err
	}
	return channel.Decode(b)
}

func (c *channelConn) Close() error {
	c.stop()
	err := c.Flush()
	if closeErr := c.stream.Close(); err == nil {
		err = closeErr
	}
	c.stream.CancelRead(codeDone)
	return err
}

func (c *channelConn) Abort() {
	c.stop()
	cut(c.stream)
}
