package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

func resolve(addr string) (*net.UDPAddr, error) { return net.ResolveUDPAddr("udp", addr) }

// Peer implements host.Mesh.
func (m *Mesh) Peer(id identity.NodeID) (mesh.Peer, error) {
	if _, err := m.trusted(id); err != nil {
		return nil, err
	}
	return &peer{m, id}, nil
}

type peer struct {
	mesh *Mesh
	id   identity.NodeID
}

func (p *peer) ID() identity.NodeID { return p.id }

func (p *peer) SealKey(ctx context.Context) (identity.SealKey, error) {
	s, err := p.mesh.session(ctx, p.id)
	if err != nil {
		return identity.SealKey{}, err
	}
	return s.seal, nil
}

// OpenMigration implements host.Peer.
func (p *peer) OpenMigration(ctx context.Context) (migration.Conn, error) {
	stream, err := p.mesh.open(ctx, p.id, purposeMigration)
	if err != nil {
		return nil, err
	}
	c := newMigrationConn(stream)
	c.stop = context.AfterFunc(ctx, func() { cut(stream) })
	return c, nil
}

// refusal is the error of what peers start while the mesh has no handler.
func (m *Mesh) refusal() *migration.Error {
	if m.config.NoDaemons {
		return migration.Failf(migration.ComputeNotSupported, "node %s runs no daemons", m.id)
	}
	return migration.Failf(migration.NotReady, "node %s is not ready: it starts, or ends", m.id)
}

// serveMigration gives a migration stream to the host, or refuses it where there is
// none.
func (m *Mesh) serveMigration(ctx context.Context, from identity.NodeID, h mesh.Handler, stream *quic.Stream) {
	c := newMigrationConn(stream)
	if h != nil {
		h.HandleMigration(ctx, from, &guardedConn{c, m, from})
	} else if _, err := c.Recv(); err == nil {
		if err := c.Send(migration.NewRefuse(m.refusal())); err != nil {
			m.config.Logger.Debug("refusing a migration", "from", from, "error", err)
		}
	}

	if err := c.Close(); err != nil {
		c.Abort()
	}
}

// guardedConn takes no offer from a peer that may not move daemons here, and no
// order from one that may not operate those that are here. What settles an
// earlier migration it lets through: the runtime knows who takes part in that.
type guardedConn struct {
	*migrationConn
	mesh *Mesh
	from identity.NodeID
}

// Recv implements migration.Conn.
func (c *guardedConn) Recv() (migration.Message, error) {
	msg, err := c.migrationConn.Recv()
	if err != nil {
		return msg, err
	}

	switch msg.(type) {
	case *migration.Offer, *migration.BareOffer:
		err = c.mesh.Allow(c.from, trust.RightMigrate, "moving a daemon here")
	case *migration.Order:
		err = c.mesh.Allow(c.from, trust.RightOperate, "ordering a migration")
	}

	if err != nil {
		return nil, errors.Join(err, c.Send(migration.NewRefuse(migration.Failf(migration.Denied, "%v", err))))
	}
	return msg, nil
}

// migrationConn is a migration.Conn over one stream: frames around encoded
// messages.
type migrationConn struct {
	stream *quic.Stream
	r      *bufio.Reader
	w      *bufio.Writer
	buf    []byte // of what is sent; reused
	in     []byte // of what is received; reused
	begun  bool   // a message was received
	stop   func() bool
}

func newMigrationConn(s *quic.Stream) *migrationConn {
	return &migrationConn{stream: s, r: bufio.NewReaderSize(s, 64<<10), w: bufio.NewWriterSize(s, 64<<10), stop: func() bool { return true }}
}

// Send flushes whatever the other side may be waiting for; bulk is gathered.
func (c *migrationConn) Send(m migration.Message) (err error) {
	if c.buf, err = migration.Encode(c.buf[:0], m); err != nil {
		return err
	}
	if err := canon.WriteFrame(c.w, c.buf); err != nil {
		return fmt.Errorf("sending a %T: %w", m, err)
	}

	switch m.(type) {
	case *migration.ModuleChunk, *migration.HistoryBatch:
		return nil
	}

	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("sending a %T: %w", m, err)
	}
	return nil
}

func (c *migrationConn) Recv() (migration.Message, error) {
	most := migration.MaxMessage
	if !c.begun {
		most = migration.MaxOpening
	}

	b, err := canon.ReadFrameInto(c.in, c.r, most)
	if err != nil {
		return nil, err
	}

	c.begun = true
	m, err := migration.Decode(b)
	if _, kept := m.(*migration.Blocks); kept || cap(b) > 1<<20 {
		c.in = nil // Blocks alias it, and are the caller's
	} else {
		c.in = b
	}

	return m, err
}

func (c *migrationConn) Close() error {
	c.stop()
	err := c.w.Flush()
	if closeErr := c.stream.Close(); err == nil {
		err = closeErr
	}
	c.stream.CancelRead(codeDone)
	return err
}

func (c *migrationConn) Abort() {
	c.stop()
	cut(c.stream)
}
