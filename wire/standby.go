package wire

import (
	"bufio"
	"context"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/mesh"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// OpenStandby implements host.Peer.
func (p *peer) OpenStandby(ctx context.Context) (standby.Conn, error) {
	stream, err := p.mesh.open(ctx, p.id, purposeStandby)
	if err != nil {
		return nil, err
	}
	c := newStandbyConn(stream)
	c.stop = context.AfterFunc(ctx, func() { cut(stream) })
	return c, nil
}

// serveStandby gives a stream about a daemon to stand by for to the host. Who may
// move daemons here may have this node stand by for them.
func (m *Mesh) serveStandby(ctx context.Context, from identity.NodeID, h mesh.Handler, stream *quic.Stream) {
	c := newStandbyConn(stream)
	err := m.Allow(from, trust.RightMigrate, "making this node a daemon's standby")
	if err == nil && h != nil {
		h.HandleStandby(ctx, from, c)
	} else {
		text := m.refusal().Text
		if err != nil {
			text = err.Error()
		}
		if err := c.Send(&standby.Refuse{Text: clip(text, 1024)}); err != nil {
			m.config.Logger.Debug("refusing to be a standby", "from", from, "error", err)
		}
	}

	if err := c.Close(); err != nil {
		c.Abort()
	}
}

// standbyConn is a standby.Conn over one stream: frames around encoded messages.
// One goroutine sends, another receives.
type standbyConn struct {
	stream *quic.Stream
	r      *bufio.Reader
	w      *bufio.Writer
	buf    []byte
	stop   func() bool
}

func newStandbyConn(s *quic.Stream) *standbyConn {
	return &standbyConn{stream: s, r: bufio.NewReaderSize(s, 64<<10), w: bufio.NewWriterSize(s, 64<<10), stop: func() bool { return true }}
}

func (c *standbyConn) Send(m standby.Message) error {
	b, err := standby.Encode(c.buf[:0], m)
	if err != nil {
		return err
	}
	if c.buf = b[:0]; cap(b) > 1<<20 {
		c.buf = nil
	}
	return canon.WriteFrame(c.w, b)
}

func (c *standbyConn) Flush() error { return c.w.Flush() }

func (c *standbyConn) Recv() (standby.Message, error) {
	b, err := canon.ReadFrame(c.r, standby.MaxMessage)
	if err != nil {
		return nil, err
	}
	return standby.Decode(b)
}

func (c *standbyConn) More() bool { return c.r.Buffered() > 0 }

func (c *standbyConn) Close() error {
	c.stop()
	err := c.Flush()
	if closeErr := c.stream.Close(); err == nil {
		err = closeErr
	}
	c.stream.CancelRead(codeDone)
	return err
}

func (c *standbyConn) Abort() {
	c.stop()
	cut(c.stream)
}
