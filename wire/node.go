package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/quic-go/quic-go"

	"wasmhost/host"
	"wasmhost/identity"
	"wasmhost/wire/canon"
)

// Local is what a Node needs of its runtime.
type Local interface {
	Submit(ctx context.Context, id identity.EntityID, ev host.Event) (*host.Pending, error)

	// Believe returns where the daemon is, on proof, where by says that a node has it: as
	// host.Runtime does.
	Believe(ctx context.Context, id identity.EntityID, node, by identity.NodeID) (host.Proven, error)
}

// Node routes events to wherever their daemon is. It is safe for concurrent
// use.
type Node struct {
	mesh  *Mesh
	local Local

	mu      sync.Mutex
	routes  map[identity.EntityID]host.Moved
	senders map[identity.EntityID]map[*Sender]struct{} // that are open
}

// maxRoutes bounds how many daemons elsewhere a node remembers the place of.
const maxRoutes = 1 << 16

// NewNode makes the mesh answer the events that peers send, from local.
func NewNode(m *Mesh, local Local) *Node {
	n := &Node{mesh: m, local: local, routes: make(map[identity.EntityID]host.Moved), senders: make(map[identity.EntityID]map[*Sender]struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = n.serveEvents
	return n
}

// learn remembers where a daemon is, unless something newer is known.
func (n *Node) learn(m host.Moved) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.routes[m.Entity]; ok && old.Epoch > m.Epoch {
		return
	}
	if len(n.routes) >= maxRoutes {
		clear(n.routes) // it is a cache
	}
	n.routes[m.Entity] = m
}

// Moved tells of a daemon that is at another node than senders may believe: what
// waits for an answer of the old one is sent to the new one. It does not block.
func (n *Node) Moved(m host.Moved) {
	n.learn(m)
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.senders[m.Entity] {
		go s.elsewhere(m)
	}
}

func (n *Node) opened(s *Sender) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.senders[s.id] == nil {
		n.senders[s.id] = make(map[*Sender]struct{})
	}
	n.senders[s.id][s] = struct{}{}
}

func (n *Node) closed(s *Sender) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.senders[s.id], s)
	if len(n.senders[s.id]) == 0 {
		delete(n.senders, s.id)
	}
}

func (n *Node) route(id identity.EntityID) (host.Moved, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := n.routes[id]
	return m, ok
}

// Bounds on what one events stream holds at this end.
const inFlight = 1024

// serveEvents applies what a peer sends, in order, and answers in order.
func (n *Node) serveEvents(ctx context.Context, from identity.NodeID, stream *quic.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, inFlight)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := writeAnswers(ctx, bufio.NewWriterSize(stream, 64<<10), answers); err != nil {
			n.mesh.config.Logger.Debug("answering events", "from", from, "error", err)
			cancel()
		}
	}()
	err := n.readEvents(ctx, bufio.NewReaderSize(stream, 64<<10), answers)
	close(answers)
	<-done
	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, io.EOF) {
		n.mesh.config.Logger.Debug("taking events", "from", from, "error", err)
	}
	stream.CancelRead(codeDone)
	if err := stream.Close(); err != nil {
		n.mesh.config.Logger.Debug("closing an events stream", "from", from, "error", err)
	}
}

// answer is a reply that is there, or one to wait for.
type answer struct {
	pending *host.Pending
	err     error
}

// errStopped ends an events stream after an event that was not applied, so
// that none after it overtakes it.
var errStopped = errors.New("an event was not applied")

func (n *Node) readEvents(ctx context.Context, r *bufio.Reader, answers chan<- answer) error {
	b, err := canon.ReadFrame(r, 1024)
	if err != nil {
		return err
	}
	var open openEvents
	if err := canon.Unmarshal(b, &open); err != nil {
		return fmt.Errorf("opening an events stream: %w", err)
	}
	var before []*host.Pending // in order
	for {
		b, err := canon.ReadFrame(r, maxEventFrame)
		if err != nil {
			return err
		}
		ev, err := decodeEvent(b)
		if err != nil {
			return err
		}
		// The daemon may have gone, and be back: what it gave up comes first then.
		if before, err = settled(ctx, before, func(p *host.Pending) *host.Pending { return p }); err != nil {
			return errStopped
		}
		p, err := n.local.Submit(ctx, open.Entity, host.Event{Sender: ev.Sender, Number: ev.Number, Channel: ev.Channel, Payload: ev.Payload})
		select {
		case answers <- answer{p, err}:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case err == nil:
			before = append(before, p)
		case !PassesOn(err):
			return errStopped
		}
	}
}

func writeAnswers(ctx context.Context, w *bufio.Writer, answers <-chan answer) error {
	for a := range answers {
		var res host.Result
		err := a.err
		if a.pending != nil {
			select {
			case <-a.pending.Ready():
			default:
				if err := w.Flush(); err != nil {
					return err
				}
			}
			res, err = a.pending.Wait(ctx)
		}
		if err := writeItem(w, replyOf(res, err)); err != nil {
			return err
		}
		if len(answers) == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}
