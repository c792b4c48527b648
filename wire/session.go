package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// What a stream is for: its first byte.
const (
	purposeHello     = 1 // the first stream of a session
	purposeJoin      = 2 // the first stream of a session with a node that is not trusted yet
	purposeEvents    = 3
	purposeTunnel    = 4
	purposeMigration = 5
	purposeChannel   = 6
	purposeTraced    = 7 // the purpose follows the parent of a trace
	purposeStandby   = 8
	purposeRaw       = 9 // what purposeDirectory was in earlier versions; refused
	purposeDirectory = 10
	purposeTwin      = 11 // the first stream of a connection between nodes of one key
)

// protocolVersion is the version of what nodes say to one another.
const protocolVersion = 1

// hello is what each side says of itself on the first stream. The dialler
// speaks first; to join it adds a token's secret.
type hello struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Name    string
	Addr    string // where the node listens
	Seal    identity.SealKey
	Life    []byte // drawn when the node starts, lifeBytes of them
	Secret  []byte // to join: a token's; else empty
	Refused string // in an answer: why not; else empty
}

const (
	maxHello  = 4096 // bytes of what two nodes say first
	lifeBytes = 8
)

// session is one QUIC connection with a peer that said hello.
type session struct {
	conn *quic.Conn
	peer trust.Peer
	seal identity.SealKey
	life string // the peer's, between one start and the next
	once sync.Once

	dialled bool      // by this node
	listens string    // where the peer says that it listens
	began   time.Time // when the first packet was sent, or came
	since   time.Time // when both had said hello
}

func (s *session) alive() bool { return s.conn.Context().Err() == nil }

func (s *session) close(code quic.ApplicationErrorCode, text string) {
	s.once.Do(func() { _ = s.conn.CloseWithError(code, text) }) // closing a closed connection says so; nothing follows from it
}

func (m *Mesh) hello(secret []byte) *hello {
	return &hello{Version: protocolVersion, Name: m.config.Name, Addr: m.Addr().String(), Seal: m.seal, Life: m.life[:], Secret: secret}
}

// accept takes connections until the mesh closes.
func (m *Mesh) accept() {
	for {
		conn, err := m.listener.Accept(m.ctx)
		if err != nil {
			return // the listener is closed
		}

		m.work.Go(func() {
			s, err := m.welcome(conn)
			if err != nil {
				m.config.Logger.Warn("refused a connection", "from", conn.RemoteAddr(), "error", err)
				code := quic.ApplicationErrorCode(codeProtocol)
				if errors.Is(err, ErrUntrusted) || errors.Is(err, trust.ErrTokenRefused) {
					code = codeUntrusted
				}
				_ = conn.CloseWithError(code, err.Error()) // it is of no further use
				return
			}

			if s == nil {
				_ = conn.CloseWithError(codeDone, "") // a twin has its answer
				return
			}

			m.serve(s)
		})
	}
}

// welcome is the answering side of the handshake: who is it, does it know us,
// does it join?
func (m *Mesh) welcome(conn *quic.Conn) (*session, error) {
	key, err := peerKey(conn.ConnectionState().TLS)
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(m.ctx, handshakeTimeout)
	defer cancel()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for hello from %s: %w", key.Node(), err)
	}

	var first [1]byte
	if err := stream.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	if _, err := stream.Read(first[:]); err != nil {
		return nil, fmt.Errorf("reading hello: %w", err)
	}

	purpose := first[0]
	if purpose == purposeTwin {
		return nil, m.answerTwin(ctx, conn, stream, key)
	}
	if m.isolated.Load() {
		return nil, fmt.Errorf("%w: %s", ErrIsolated, key.Node())
	}
	if purpose != purposeHello && purpose != purposeJoin {
		return nil, fmt.Errorf("%w: %s opened a stream of purpose %d before hello", ErrUntrusted, key, purpose)
	}

	theirs, err := readHello(ctx, stream)
	if err != nil {
		return nil, err
	}

	s := &session{conn: conn, seal: theirs.Seal, life: string(theirs.Life), listens: theirs.Addr, began: dialledAt(conn)}
	err = m.meet(s, theirs, key, purpose, func(known *trust.Peer) (trust.Rights, error) {
		switch {
		case theirs.Version != protocolVersion:
			return 0, fmt.Errorf("node %s speaks version %d of the protocol, this one %d", key.Node(), theirs.Version, protocolVersion)
		case purpose == purposeJoin:
			rights, good := m.tokens.Redeem(theirs.Secret)
			if !good {
				return 0, trust.ErrTokenRefused
			}
			return rights, nil

		case known == nil:
			return 0, fmt.Errorf("%w: %s", ErrUntrusted, key)
		}
		return known.Rights, nil
	})

	mine := m.hello(nil)
	if err != nil {
		mine.Refused = err.Error()
		return nil, errors.Join(err, writeHello(stream, 0, mine), linger(ctx, conn))
	}

	if joined := m.joined.Load(); joined != nil && purpose == purposeJoin {
		m.work.Go(func() { (*joined)(m.ctx, key, s.peer.Rights) })
	}

	if err := writeHello(stream, 0, mine); err != nil {
		return nil, err
	}
	return s, nil
}

// linger waits until the peer has read a refusal and closed, or ctx ends.
func linger(ctx context.Context, conn *quic.Conn) error {
	select {
	case <-conn.Context().Done():
	case <-ctx.Done():
	}
	return nil
}

// meet makes s the session with the peer that said h, if rights returns which rights it
// has from now on. known is the peer as it is trusted at this moment; nil: it is not.
// meet reads the peer after its hello has come and holds trusting until it has the session:
// a Grant or Forget that came before the hello holds. Errors: those of rights and of the
// trust store.
func (m *Mesh) meet(s *session, h *hello, key identity.EntityID, purpose byte, rights func(known *trust.Peer) (trust.Rights, error)) error {
	m.trusting.Lock()
	defer m.trusting.Unlock()

	p, err := m.trusted(key.Node())
	if err != nil && !errors.Is(err, mesh.ErrUnknownNode) {
		return err
	}

	var known *trust.Peer
	if err == nil && p.Key == key {
		known = &p
	}

	has, err := rights(known)
	if err != nil {
		return err
	}

	is := m.peerOf(key, h, p, s.conn.RemoteAddr(), purpose)
	is.Rights = has
	if purpose == purposeJoin || p.Name != is.Name || !s.dialled && p.Addr != is.Addr {
		if err := m.config.Trust.Put(is); err != nil {
			return err
		}
		m.grants.Add(1)
	}

	s.peer = is
	m.adopt(s)
	return nil
}

func (m *Mesh) peerOf(key identity.EntityID, h *hello, known trust.Peer, from net.Addr, purpose byte) trust.Peer {
	added := known.Added
	if added.IsZero() {
		added = m.config.Clock()
	}
	return trust.Peer{Key: key, Name: m.peerName(known, key, h.Name, purpose == purposeJoin), Addr: reached(h.Addr, from), Added: added}
}

// greet is the dialling side of the handshake. Who is joined gets grants here.
func (m *Mesh) greet(ctx context.Context, key identity.EntityID, addr string, purpose byte, secret []byte, grants trust.Rights) (*session, error) {
	if m.isolated.Load() {
		return nil, fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, key.Node(), ErrIsolated)
	}

	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	udp, err := resolve(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %s at %q: %w", mesh.ErrUnreachable, key.Node(), addr, err)
	}

	conn, err := m.transport.Dial(ctx, udp, m.clientTLS(key), quicConfig())
	if err != nil {
		if errors.Is(err, ErrUntrusted) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %s at %s: %w", mesh.ErrUnreachable, key.Node(), addr, err)
	}

	fail := func(err error) (*session, error) {
		_ = conn.CloseWithError(codeProtocol, "") // it is of no further use
		return nil, fmt.Errorf("%w: %s at %s: %w", mesh.ErrUnreachable, key.Node(), addr, err)
	}

	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return fail(err)
	}
	if err := writeHello(stream, purpose, m.hello(secret)); err != nil {
		return fail(err)
	}

	theirs, err := readHello(ctx, stream)
	if err != nil {
		return fail(err)
	}
	if theirs.Refused != "" {
		_ = conn.CloseWithError(codeDone, "") // the refusal is read
		if purpose == purposeJoin {
			return nil, fmt.Errorf("%w: %s", trust.ErrTokenRefused, theirs.Refused)
		}
		return nil, fmt.Errorf("%w: node %s says: %s", ErrUntrusted, key.Node(), theirs.Refused)
	}

	if theirs.Version != protocolVersion {
		return fail(fmt.Errorf("it speaks version %d of the protocol, this node %d", theirs.Version, protocolVersion))
	}

	s := &session{conn: conn, seal: theirs.Seal, life: string(theirs.Life), dialled: true, listens: theirs.Addr, began: began}
	err = m.meet(s, theirs, key, purpose, func(known *trust.Peer) (trust.Rights, error) {
		switch {
		case purpose == purposeJoin:
			return grants, nil
		case known == nil:
			return 0, fmt.Errorf("%w: %s", ErrUntrusted, key)
		}
		return known.Rights, nil
	})
	if errors.Is(err, ErrUntrusted) {
		_ = conn.CloseWithError(codeUntrusted, "") // it is of no further use
		return nil, err
	}
	if err != nil {
		return fail(err)
	}

	m.work.Go(func() { m.serve(s) })
	return s, nil
}

// Join makes this node and the one that issued the token trust each other. That one gets
// RightsAll here: this node's operator chose it.
func (m *Mesh) Join(ctx context.Context, text string) (identity.NodeID, error) {
	return m.JoinWith(ctx, text, trust.RightsAll)
}

// JoinWith is Join that grants other rights, of RightsAll, to the node that issued the
// token.
func (m *Mesh) JoinWith(ctx context.Context, text string, grants trust.Rights) (identity.NodeID, error) {
	t, err := trust.ParseToken(text)
	if err != nil {
		return 0, err
	}
	if m.config.Clock().Unix() >= t.Expires {
		return 0, fmt.Errorf("%w: at %s", trust.ErrTokenExpired, time.Unix(t.Expires, 0).UTC().Format(time.RFC3339))
	}
	if t.Key == m.config.Identity.ID() {
		return 0, fmt.Errorf("%w: it is this node's own", trust.ErrTokenRefused)
	}

	s, err := m.greet(ctx, t.Key, t.Addr, purposeJoin, t.Secret, grants&trust.RightsAll)
	if err != nil {
		return 0, fmt.Errorf("joining node %s: %w", t.Key.Node(), err)
	}
	return s.peer.Key.Node(), nil
}

// adopt makes s the session with its peer in place of any before it, unless each
// node dialled the other before it knew: then both sessions go on, and the older is
// used. Who dials has no session, or one that leads to where it no longer is: the
// other side would hold the one before until it times out, and what waits on it
// would hear nothing.
func (m *Mesh) adopt(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := s.peer.Key.Node()
	s.since = time.Now()
	old := m.sessions[id]

	switch {
	case old == nil || !old.alive():
	case old.life != s.life:
		old.close(codeDone, "the node has restarted")
	case old.dialled == s.dialled || s.began.After(old.since):
		old.close(codeDone, "another session takes its place")
	default:
		return
	}

	m.sessions[id] = s
	m.met.Add(1)
	if h, ok := m.handler.(interface{ PeerCame(identity.NodeID) }); ok {
		go h.PeerCame(id) // it takes locks of the host, and does not block
	}
}

// greetAll connects to every trusted node, so that those who held a session
// with this node's earlier life learn that it is over.
func (m *Mesh) greetAll() {
	peers, err := m.config.Trust.List()
	if err != nil {
		m.config.Logger.Warn("reading the trusted nodes", "error", err)
		return
	}

	for _, p := range peers {
		m.work.Go(func() {
			if _, err := m.session(m.ctx, p.Key.Node()); err != nil {
				m.config.Logger.Debug("a trusted node is not there", "peer", p.Key.Node(), "error", err)
			}
		})
	}
}

// greetAgainFor is for how long a node dials a peer again whose session was lost.
const greetAgainFor = 30 * time.Second

// greetAgain dials the peer of a session that neither side has ended, so that it
// learns what became of it, and where this node is now.
func (m *Mesh) greetAgain(s *session, lost error) {
	if ended := (*quic.ApplicationError)(nil); errors.As(lost, &ended) {
		return
	}
	id := s.peer.Key.Node()
	m.insist(id, func() error {
		_, err := m.session(m.ctx, id)
		return err
	})
}

// insist dials a peer until it is reached, or for greetAgainFor.
func (m *Mesh) insist(id identity.NodeID, dial func() error) {
	tries := backoff.Policy{First: 50 * time.Millisecond, Most: 2 * time.Second, For: greetAgainFor}.Start()
	for m.ctx.Err() == nil {
		err := dial()
		if !errors.Is(err, mesh.ErrUnreachable) {
			return
		}

		m.config.Logger.Debug("a trusted node is not reached", "peer", id, "error", err)
		if tries.Wait(m.ctx, nil) != nil {
			return
		}
	}
}

// session returns the session with a trusted peer, dialling where there is
// none.
func (m *Mesh) session(ctx context.Context, id identity.NodeID) (*session, error) {
	m.mu.Lock()
	s, turn := m.sessions[id], m.dialing[id]
	if turn == nil {
		turn = make(chan struct{}, 1)
		m.dialing[id] = turn
	}
	m.mu.Unlock()
	if s != nil && s.alive() {
		return s, nil
	}

	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, id, context.Cause(ctx))
	}

	defer func() { <-turn }()
	m.mu.Lock()
	s = m.sessions[id]
	m.mu.Unlock()
	if s != nil && s.alive() {
		return s, nil
	}

	p, err := m.trusted(id)
	if err != nil {
		return nil, err
	}
	return m.greet(ctx, p.Key, p.Addr, purposeHello, nil, 0)
}

// open opens a stream to the peer for a purpose. A session that has died
// unnoticed is replaced once.
func (m *Mesh) open(ctx context.Context, id identity.NodeID, purpose byte) (*quic.Stream, error) {
	for try := 0; ; try++ {
		s, err := m.session(ctx, id)
		if err != nil {
			return nil, err
		}

		stream, err := s.conn.OpenStreamSync(ctx)
		if err == nil {
			if _, err = stream.Write(s.opening(ctx, purpose)); err == nil {
				return stream, nil
			}
		}

		if ctx.Err() != nil || try > 0 {
			return nil, fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, id, err)
		}

		s.close(codeDone, "dead")
	}
}

// opening is how a stream begins.
func (s *session) opening(ctx context.Context, purpose byte) []byte {
	if purpose == purposeTunnel || purpose == purposeDirectory || s.conn.ConnectionState().TLS.NegotiatedProtocol != alpnTraced {
		return []byte{purpose} // requests have a header for it
	}
	return append(traceOf(ctx), purpose)
}

// serve takes the peer's streams until the session ends.
func (m *Mesh) serve(s *session) {
	from := s.peer.Key.Node()
	for {
		stream, err := s.conn.AcceptStream(m.ctx)
		if err != nil {
			m.noteAddr(s)
			m.greetAgain(s, err)
			return
		}
		m.work.Go(func() { m.dispatch(s.conn, from, stream) })
	}
}

func (m *Mesh) dispatch(conn *quic.Conn, from identity.NodeID, stream *quic.Stream) {
	var purpose [1]byte
	if err := stream.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return
	}
	if _, err := stream.Read(purpose[:]); err != nil {
		cut(stream)
		return
	}

	ctx := stream.Context()
	if purpose[0] == purposeTraced {
		var err error
		if ctx, purpose[0], err = readTrace(ctx, stream); err != nil {
			m.config.Logger.Warn("a stream that is said to be traced", "from", from, "error", err)
			cut(stream)
			return
		}
	}

	if err := stream.SetReadDeadline(time.Time{}); err != nil {
		return
	}

	m.mu.Lock()
	handler, events := m.handler, m.events
	m.mu.Unlock()

	switch {
	case purpose[0] == purposeMigration:
		m.serveMigration(ctx, from, handler, stream)
	case purpose[0] == purposeEvents && events != nil:
		events(ctx, from, stream)
	case purpose[0] == purposeEvents:
		m.refuseEvents(from, stream)
	case purpose[0] == purposeChannel:
		m.serveChannel(ctx, from, handler, stream)
	case purpose[0] == purposeStandby:
		m.serveStandby(ctx, from, handler, stream)
	case purpose[0] == purposeDirectory:
		m.serveDirectory(ctx, conn, from, stream)
	case purpose[0] == purposeRaw:
		m.config.Logger.Warn("refused a node that speaks the directory's protocol of an earlier version: upgrade it", "from", from)
		m.noteDenied(from)
		cut(stream)

	case purpose[0] == purposeTunnel:
		m.tunnel.offer(&streamConn{Stream: stream, local: conn.LocalAddr(), remote: conn.RemoteAddr(), from: from})
	default:
		m.config.Logger.Warn("a stream of unknown purpose", "from", from, "purpose", purpose[0])
		cut(stream)
	}
}

// cut ends both directions of a stream at once.
func cut(s *quic.Stream) {
	s.CancelRead(codeAborted)
	s.CancelWrite(codeAborted)
}

func writeHello(s *quic.Stream, purpose byte, h *hello) error {
	b, err := canon.Marshal(h)
	if err != nil {
		return err
	}

	w := bufio.NewWriter(s)
	if purpose != 0 {
		if err := w.WriteByte(purpose); err != nil {
			return err
		}
	}

	if err := canon.WriteFrame(w, b); err != nil {
		return err
	}
	return w.Flush()
}

func readHello(ctx context.Context, s *quic.Stream) (*hello, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := s.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
	}

	b, err := canon.ReadFrame(s, maxHello)
	if err != nil {
		return nil, fmt.Errorf("reading hello: %w", err)
	}
	return decodeHello(b)
}

func decodeHello(b []byte) (*hello, error) {
	h := &hello{}
	if err := canon.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("reading hello: %w", err)
	}
	if len(h.Life) != lifeBytes {
		return nil, fmt.Errorf("reading hello: a life of %d bytes", len(h.Life))
	}
	if len(h.Name) > 255 || len(h.Addr) > 255 || len(h.Refused) > 1024 {
		return nil, errors.New("reading hello: a field is too long")
	}

	return h, nil
}
