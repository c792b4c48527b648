package wire

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/identity"
)

// everywhere reports whether addr, of a UDP listener, stands for all addresses of
// its machine.
func everywhere(addr string) bool {
	at, err := netip.ParseAddrPort(addr)
	return err == nil && at.Addr().Unmap().IsUnspecified()
}

// reached is where a peer that listens on addr is reached: there or, where that
// stands for all addresses of its machine, at the one that it speaks from.
func reached(addr string, from net.Addr) string {
	udp, ok := from.(*net.UDPAddr)
	if !ok || !everywhere(addr) {
		return addr
	}
	ip := udp.AddrPort().Addr().Unmap()
	return netip.AddrPortFrom(ip, netip.MustParseAddrPort(addr).Port()).String()
}

// announced is the address that a token says: where the node listens on all
// addresses, the first of its machine that others can reach.
func (m *Mesh) announced() string {
	addr := m.Addr().String()
	if !everywhere(addr) {
		return addr
	}

	host := "127.0.0.1"
	for _, a := range machineAddrs() {
		if a.IsGlobalUnicast() {
			host = a.String()
			break
		}
	}

	return net.JoinHostPort(host, strconv.Itoa(int(netip.MustParseAddrPort(addr).Port())))
}

// machineAddrs are the machine's addresses, IPv4 first, sorted. It has none where
// they cannot be read.
func machineAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}

	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}

	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// lookEvery is how often a node that listens on all addresses looks whether they
// are still the same.
const lookEvery = time.Second

// watchAddrs tells the peers when the machine's addresses change. It returns when
// the mesh closes.
func (m *Mesh) watchAddrs() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := machineAddrs()

	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}

		now := machineAddrs()
		if slices.Equal(now, last) || len(now) == 0 {
			continue
		}

		last = now
		m.config.Logger.Info("the addresses of this machine have changed", "now", now)
		m.readdress()
	}
}

// readdress greets anew the nodes that dialled this one: they dialled an address
// that it no longer has, and QUIC moves a connection only with its client.
func (m *Mesh) readdress() {
	peers, err := m.config.Trust.List()
	if err != nil {
		m.config.Logger.Warn("reading the trusted nodes", "error", err)
		return
	}
	for _, p := range peers {
		m.work.Go(func() { m.readdressTo(p.Key.Node()) })
	}
}

// readdressTo is readdress for one trusted node.
func (m *Mesh) readdressTo(id identity.NodeID) {
	m.mu.Lock()
	s := m.sessions[id]
	m.mu.Unlock()
	if s != nil && s.alive() && s.dialled {
		s.nudge()
		return
	}

	if s != nil {
		m.noteAddr(s)
	}

	m.insist(id, func() error {
		p, err := m.trusted(id)
		if err == nil {
			_, err = m.greet(m.ctx, p.Key, p.Addr, purposeHello, nil, 0)
		}
		return err
	})
}

// nudge sends something over a session that may have nothing to carry for a while:
// the peer sees from where.
func (s *session) nudge() {
	if stream, err := s.conn.OpenStream(); err == nil { // else there is much to carry, or no session
		cut(stream)
	}
}

// noteAddr remembers where QUIC has moved a session: the peer that dialled it has
// not said so otherwise.
func (m *Mesh) noteAddr(s *session) {
	m.mu.Lock()
	current := m.sessions[s.peer.Key.Node()] == s
	m.mu.Unlock()
	at := reached(s.listens, s.conn.RemoteAddr())
	if s.dialled || !current || at == s.peer.Addr {
		return
	}

	m.trusting.Lock()
	defer m.trusting.Unlock()
	p, err := m.trusted(s.peer.Key.Node())
	if err == nil && p.Key == s.peer.Key {
		p.Addr = at
		err = m.config.Trust.Put(p)
	}

	if err != nil && m.ctx.Err() == nil {
		m.config.Logger.Warn("remembering the address of a node", "peer", s.peer.Key.Node(), "error", err)
	}
}

// dialKey is under which the context of a connection has the time of its first
// packet.
type dialKey struct{}

func noteDial(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	return context.WithValue(ctx, dialKey{}, time.Now()), nil
}

// dialledAt is when the first packet of an accepted connection came.
func dialledAt(c *quic.Conn) time.Time {
	t, _ := c.Context().Value(dialKey{}).(time.Time)
	return t
}
