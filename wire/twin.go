package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A node that was restored from a backup looks for its twin: another node with the same
// key, which is the one that the backup was made of. The first stream of such a
// connection has the purpose twin and a hello; the answer is a hello, and then frames
// that say how far the twin is with its daemons. The handshake proves that both sides
// have the key, so nothing else is signed. A twin of an earlier version refuses the
// purpose; that it is there is known all the same.

// Bounds on what a twin says.
const (
	twinFrame     = 64 << 10 // bytes
	twinPage      = 512      // standings in a frame
	maxTwinStands = 1 << 20  // daemons of which a twin speaks
)

// twinPageOf is one frame of a twin's answer.
type twinPageOf struct {
	_         struct{} `cbor:",toarray"`
	Standings []twinStanding
	More      bool
}

type twinStanding struct {
	_        struct{} `cbor:",toarray"`
	Entity   identity.EntityID
	Epoch    uint64
	Sequence uint64
	Applied  uint64
}

// ErrIsolated says that a node speaks to no other: it was restored from a backup, and
// the node that the backup is of still runs.
var ErrIsolated = errors.New("the node was restored from a backup of a node that still runs: it speaks to no other")

// Isolate makes the mesh end its sessions and begin no other, or ends that. An isolated
// node would take its twin's sessions with their peers.
func (m *Mesh) Isolate(on bool) {
	if m.isolated.Swap(on) == on {
		return
	}
	if !on {
		m.mu.Lock()
		greet := m.handler != nil
		m.mu.Unlock()
		if greet {
			m.greetAll()
		}
		return
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.sessions {
		s.close(codeDone, "the node is isolated")
		delete(m.sessions, id)
	}
}

// ServeStandings lets a twin ask how far this node is with its daemons. It is called
// before the mesh is handled.
func (m *Mesh) ServeStandings(standings func() []host.TwinStanding) { m.standings.Store(&standings) }

// answerTwin answers another node with this one's key.
func (m *Mesh) answerTwin(ctx context.Context, conn *quic.Conn, stream *quic.Stream, key identity.EntityID) error {
	if key != m.config.Identity.ID() {
		return fmt.Errorf("%w: %s asks as if it were this node", ErrUntrusted, key)
	}
	if _, err := readHello(ctx, stream); err != nil {
		return err
	}

	m.config.Logger.Error("another node with this node's key asks how far this one is: it was restored from a backup of this node", "from", conn.RemoteAddr())
	if err := writeHello(stream, 0, m.hello(nil)); err != nil {
		return err
	}

	var all []host.TwinStanding
	if standings := m.standings.Load(); standings != nil {
		all = (*standings)()
	}

	for more := true; more; {
		var page twinPageOf
		n := min(len(all), twinPage)
		for _, s := range all[:n] {
			page.Standings = append(page.Standings, twinStanding{Entity: s.Entity, Epoch: s.Epoch, Sequence: s.Sequence, Applied: s.Applied})
		}

		all = all[n:]
		more = len(all) > 0
		page.More = more
		b, err := canon.Marshal(&page)
		if err != nil {
			return err
		}
		if err := canon.WriteFrame(stream, b); err != nil {
			return err
		}
	}

	return linger(ctx, conn)
}

// Twin asks whether another node with this one's key is at the address. found is true
// where one is, even if it does not say how far it is with its daemons. This node itself
// is none.
func (m *Mesh) Twin(ctx context.Context, addr string) (found bool, standings []host.TwinStanding, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	udp, err := resolve(addr)
	if err != nil {
		return false, nil, fmt.Errorf("%w: %q: %w", mesh.ErrUnreachable, addr, err)
	}

	conn, err := m.transport.Dial(ctx, udp, m.clientTLS(m.config.Identity.ID()), quicConfig())
	if err != nil {
		return false, nil, fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, addr, err)
	}

	defer func() { _ = conn.CloseWithError(codeDone, "") }() // all is read that is of use
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return true, nil, fmt.Errorf("asking the twin at %s: %w", addr, err)
	}
	if err := writeHello(stream, purposeTwin, m.hello(nil)); err != nil {
		return true, nil, fmt.Errorf("asking the twin at %s: %w", addr, err)
	}

	theirs, err := readHello(ctx, stream)
	if err != nil {
		return true, nil, fmt.Errorf("asking the twin at %s: %w", addr, err)
	}
	if string(theirs.Life) == string(m.life[:]) {
		return false, nil, nil
	}

	for more := true; more; {
		b, err := canon.ReadFrame(stream, twinFrame)
		if err != nil {
			return true, standings, fmt.Errorf("asking the twin at %s: %w", addr, err)
		}

		var page twinPageOf
		if err := canon.Unmarshal(b, &page); err != nil {
			return true, standings, fmt.Errorf("asking the twin at %s: %w", addr, err)
		}

		for _, s := range page.Standings {
			standings = append(standings, host.TwinStanding{Entity: s.Entity, Epoch: s.Epoch, Sequence: s.Sequence, Applied: s.Applied})
		}

		if more = page.More; len(standings) > maxTwinStands {
			return true, standings, fmt.Errorf("asking the twin at %s: more than %d daemons", addr, maxTwinStands)
		}
	}

	return true, standings, nil
}
