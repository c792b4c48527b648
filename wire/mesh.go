// Package wire joins nodes: QUIC sessions between those that trust one
// another, the streams that host needs, and the routing of events to wherever a
// daemon is.
package wire

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// Config says who a mesh is and whom it trusts.
type Config struct {
	Identity *identity.KeyPair
	Name     string      // of the node, for people; may be empty
	Addr     string      // UDP address to listen on; port 0: any; 0.0.0.0 or ::, all addresses, also those to come
	Trust    trust.Store // nil: in memory
	Logger   *slog.Logger
	Clock    func() time.Time // nil: time.Now
	Budgets  *budget.Set      // of bytes that peers can make the node hold; nil: of the default sizes

	// NoDaemons says that no runtime ever uses the mesh: it refuses daemons for good,
	// with migration.ComputeNotSupported. Otherwise a mesh without a handler belongs to
	// a node that starts or ends, and answers that it is not ready.
	NoDaemons bool
}

// Bounds on what a peer can make a node hold.
const (
	maxStreams       = 1280 // streams that one peer has open: one for each channel that its daemons hear, and others
	handshakeTimeout = 5 * time.Second
	dialTimeout      = 3 * time.Second
	idleTimeout      = 30 * time.Second
	keepAlive        = 10 * time.Second
)

// Codes with which a session or stream is closed.
const (
	codeDone      = 0
	codeUntrusted = 1
	codeProtocol  = 2
	codeAborted   = 3
	codeSlow      = 4 // answers that the peer does not read hold up others
)

// ErrUntrusted says that one of the two nodes does not trust the other's key.
var ErrUntrusted = errors.New("the node's key is not trusted")

// Mesh is a node's sessions with its peers. It implements host.Mesh and is
// safe for concurrent use.
type Mesh struct {
	config    Config
	id        identity.NodeID
	seal      identity.SealKey
	life      [lifeBytes]byte
	greeted   sync.Once
	cert      tls.Certificate
	transport *quic.Transport
	listener  *quic.Listener
	tokens    *trust.Tokens
	tunnel    tunnel
	ctx       context.Context
	cancel    context.CancelFunc
	work      sync.WaitGroup
	joined    atomic.Pointer[func(context.Context, identity.EntityID, trust.Rights)] // see OnJoin

	trusting sync.Mutex // held while the trusted nodes are read and changed, and their sessions with them; before mu

	mu       sync.Mutex
	handler  mesh.Handler
	events   func(ctx context.Context, from identity.NodeID, s *quic.Stream)
	sessions map[identity.NodeID]*session
	denied   map[identity.NodeID]uint64
	dialing  map[identity.NodeID]chan struct{} // a place for who dials a peer

	isolated  atomic.Bool                                // see Isolate
	standings atomic.Pointer[func() []host.TwinStanding] // that a twin is told

	grants atomic.Uint64 // how often rights changed
	met    atomic.Uint64 // how often a session with a peer began

	directory *directory.Guard // nil: this node serves none
	asking    map[identity.NodeID]*directoryLoad
}

// Listen opens the mesh on its address.
func Listen(ctx context.Context, c Config) (*Mesh, error) {
	if c.Trust == nil {
		c.Trust = &trust.Memory{}
	}

	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	if c.Clock == nil {
		c.Clock = time.Now
	}

	if c.Budgets == nil {
		c.Budgets = budget.NewSet(budget.Sizes{})
	}

	m := &Mesh{config: c, id: c.Identity.ID().Node(), sessions: make(map[identity.NodeID]*session), dialing: make(map[identity.NodeID]chan struct{}),
		denied: make(map[identity.NodeID]uint64), asking: make(map[identity.NodeID]*directoryLoad)}
	m.tokens = trust.NewTokens(c.Clock)
	var err error
	if m.seal, err = c.Identity.SealKey(); err != nil {
		return nil, fmt.Errorf("opening the mesh: %w", err)
	}
	if m.cert, err = certificate(c.Identity); err != nil {
		return nil, fmt.Errorf("opening the mesh: %w", err)
	}
	if _, err = rand.Read(m.life[:]); err != nil {
		return nil, fmt.Errorf("opening the mesh: %w", err)
	}

	reset, err := resetKey(c.Identity)
	if err != nil {
		return nil, fmt.Errorf("opening the mesh: %w", err)
	}

	conn, err := listenUDP(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", c.Addr, err)
	}

	m.transport = &quic.Transport{Conn: conn, StatelessResetKey: reset, ConnContext: noteDial}
	if m.listener, err = m.transport.Listen(m.serverTLS(), quicConfig()); err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %q: %w", c.Addr, err), m.transport.Close(), conn.Close())
	}

	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.tunnel.start(m)
	m.work.Go(m.accept)
	if everywhere(m.Addr().String()) {
		m.work.Go(m.watchAddrs)
	}

	return m, nil
}

// resetKey is the same at every start of the node (RFC 9000, section 10.3):
// with it the node tells those who still speak to its earlier life that nobody
// listens.
func resetKey(k *identity.KeyPair) (*quic.StatelessResetKey, error) {
	seed, err := k.Seed()
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	key := quic.StatelessResetKey(sha256.Sum256(append([]byte("wasmhost stateless reset\x00"), seed...)))
	return &key, nil
}

// ErrBadAddress says that a node cannot listen on an address, whoever else does.
var ErrBadAddress = errors.New("not an address of this machine")

func listenUDP(addr string) (*net.UDPConn, error) {
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAddress, err)
	}

	conn, err := net.ListenUDP("udp", udp)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		err = fmt.Errorf("%w: %w", ErrBadAddress, err)
	}
	return conn, err
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTimeout, MaxIdleTimeout: idleTimeout, KeepAlivePeriod: keepAlive,
		MaxIncomingStreams: maxStreams, MaxIncomingUniStreams: -1,
		InitialStreamReceiveWindow: 1 << 20, MaxStreamReceiveWindow: 8 << 20,
		InitialConnectionReceiveWindow: 2 << 20, MaxConnectionReceiveWindow: 32 << 20,
	}
}

// Self returns the node's id.
func (m *Mesh) Self() identity.NodeID { return m.id }

// Encounters grows whenever a session with a peer begins, and whenever what peers may do
// changes: what was asked of all peers before may have another answer since.
func (m *Mesh) Encounters() uint64 { return m.grants.Load() + m.met.Load() }

// Name returns the node's name.
func (m *Mesh) Name() string { return m.config.Name }

// Addr returns the address that the mesh listens on.
func (m *Mesh) Addr() net.Addr { return m.listener.Addr() }

// Close ends all sessions.
func (m *Mesh) Close() error {
	m.cancel()
	m.mu.Lock()
	for _, s := range m.sessions {
		s.close(codeDone, "the node is shutting down")
	}
	m.mu.Unlock()
	err := errors.Join(m.listener.Close(), m.transport.Close(), m.transport.Conn.Close(), m.tunnel.close())
	m.work.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, quic.ErrServerClosed) {
		return nil
	}

	return err
}

// Handle implements host.Mesh. The first handler's coming connects the mesh to
// its peers.
func (m *Mesh) Handle(h mesh.Handler) bool {
	m.mu.Lock()
	defer m.mu.Unlock()

	if h != nil && m.handler != nil {
		return false
	}

	if m.handler = h; h != nil {
		m.greeted.Do(m.greetAll)
	}
	return true
}

// Handled implements host.Mesh.
func (m *Mesh) Handled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handler != nil
}

// PeerInfo is what is known of a trusted node.
type PeerInfo struct {
	ID        identity.NodeID
	Key       identity.EntityID
	Name      string
	Addr      string
	Connected bool
	Rights    trust.Rights
	Denied    uint64 // how often it asked, since this node started, for what it may not do
}

// Peers returns the trusted nodes.
func (m *Mesh) Peers() ([]PeerInfo, error) {
	trusted, err := m.config.Trust.List()
	if err != nil {
		return nil, fmt.Errorf("reading the trusted nodes: %w", err)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]PeerInfo, 0, len(trusted))
	for _, t := range trusted {
		i := PeerInfo{ID: t.Key.Node(), Key: t.Key, Name: t.Name, Addr: t.Addr, Rights: t.Rights, Denied: m.denied[t.Key.Node()]}
		i.Connected = m.sessions[i.ID] != nil && m.sessions[i.ID].alive()
		out = append(out, i)
	}

	return out, nil
}

// Forget ends the trust in a node and any session with it.
func (m *Mesh) Forget(key identity.EntityID) error {
	m.trusting.Lock()
	defer m.trusting.Unlock()

	if err := m.config.Trust.Delete(key); err != nil {
		return fmt.Errorf("forgetting node %s: %w", key.Node(), err)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.denied, key.Node())
	if s := m.sessions[key.Node()]; s != nil {
		s.close(codeUntrusted, "no longer trusted")
		delete(m.sessions, key.Node())
	}

	return nil
}

// AmbiguousError is the error of a reference, or of the beginning of an id, that
// several nodes have.
type AmbiguousError struct {
	Ref   string
	Nodes []identity.NodeID
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q names %d nodes: %v", e.Ref, len(e.Nodes), e.Nodes)
}

// FindNode is FindPeer among the trusted nodes and this one.
func (m *Mesh) FindNode(text string) (identity.NodeID, error) {
	peers, err := m.Peers()
	if err != nil {
		return 0, err
	}
	p, err := findNode(append(peers, m.here()), text)
	return p.ID, err
}

// FindPeer returns the trusted node that a reference names (host.ParseRef). Errors:
// host.ErrBadRef, host.ErrUnknownNode, and *AmbiguousError where several have the name.
func (m *Mesh) FindPeer(text string) (PeerInfo, error) {
	peers, err := m.Peers()
	if err != nil {
		return PeerInfo{}, err
	}
	return findNode(peers, text)
}

// LookForNode is FindNode, and where nothing has the reference also by the beginning of
// an id, of at least four digits. It is for commands that look.
func (m *Mesh) LookForNode(text string) (identity.NodeID, error) {
	id, err := m.FindNode(text)
	if !errors.Is(err, mesh.ErrUnknownNode) || !daemon.CanBegin(text) {
		return id, err
	}

	peers, err := m.Peers()
	if err != nil {
		return 0, err
	}

	p, err := onlyNode(append(peers, m.here()), text, func(p PeerInfo) bool {
		return strings.HasPrefix(p.ID.String(), strings.ToLower(text))
	})
	return p.ID, err
}

func (m *Mesh) here() PeerInfo {
	return PeerInfo{ID: m.id, Key: m.config.Identity.ID(), Name: m.config.Name}
}

func findNode(nodes []PeerInfo, text string) (PeerInfo, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return PeerInfo{}, err
	}
	return onlyNode(nodes, text, func(p PeerInfo) bool { return ref.NamesNode(p.ID, p.Key, p.Name) })
}

// onlyNode returns the only node that match holds of.
func onlyNode(nodes []PeerInfo, text string, match func(PeerInfo) bool) (PeerInfo, error) {
	var found []PeerInfo
	for _, p := range nodes {
		if match(p) {
			found = append(found, p)
		}
	}

	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return PeerInfo{}, fmt.Errorf("%w: %q", mesh.ErrUnknownNode, text)
	}

	e := &AmbiguousError{Ref: text}
	for _, p := range found {
		e.Nodes = append(e.Nodes, p.ID)
	}
	return PeerInfo{}, e
}

// trusted returns the peer of that id, or host.ErrUnknownNode.
func (m *Mesh) trusted(id identity.NodeID) (trust.Peer, error) {
	all, err := m.config.Trust.List()
	if err != nil {
		return trust.Peer{}, fmt.Errorf("reading the trusted nodes: %w", err)
	}

	for _, t := range all {
		if t.Key.Node() == id {
			return t, nil
		}
	}
	return trust.Peer{}, fmt.Errorf("%w: %s is not among the trusted nodes", mesh.ErrUnknownNode, id)
}
