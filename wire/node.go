package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Local is what a Node needs of its runtime.
type Local interface {
	Submit(ctx context.Context, id identity.EntityID, ev daemon.Event) (*host.Pending, error)

	// Believe returns where the daemon is, on proof, where by says that a node has it: as
	// host.Runtime does.
	Believe(ctx context.Context, id identity.EntityID, node, by identity.NodeID) (host.Proven, error)
}

// Node routes events to wherever their daemon is. It is safe for concurrent
// use.
type Node struct {
	mesh  *Mesh
	local Local
	lanes lanes

	mu      sync.Mutex
	routes  map[identity.EntityID]daemon.Moved
	senders map[identity.EntityID]map[*Sender]struct{} // that are open
}

// maxRoutes bounds how many daemons elsewhere a node remembers the place of.
const maxRoutes = 1 << 16

// NewNode makes the mesh answer the events that peers send, from local.
func NewNode(m *Mesh, local Local) *Node {
	n := &Node{mesh: m, local: local, routes: make(map[identity.EntityID]daemon.Moved), senders: make(map[identity.EntityID]map[*Sender]struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = n.serveEvents
	return n
}

// learn remembers where a daemon is, unless something newer is known.
func (n *Node) learn(m daemon.Moved) {
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
func (n *Node) Moved(m daemon.Moved) {
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

func (n *Node) route(id identity.EntityID) (daemon.Moved, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := n.routes[id]
	return m, ok
}

// inFlight is how many events of one events stream are not answered, at either end. In
// bytes, budget.StreamRequests and budget.StreamAnswers bound a stream at this end.
const inFlight = 1024

// peerName is the peer as the budgets of callers know it.
func peerName(id identity.NodeID) string { return "peer:" + id.String() }

// taking is an events stream that a peer opened.
type taking struct {
	node     *Node
	requests *budget.Budget // of events that are read and not yet applied
	replies  *budget.Budget // of results that the peer has not read
}

// serveEvents applies what a peer sends, in order, and answers in order.
func (n *Node) serveEvents(ctx context.Context, from identity.NodeID, stream *quic.Stream) {
	ctx, cancel := context.WithCancel(budget.WithCaller(ctx, peerName(from)))
	defer cancel()
	requests, leave := n.mesh.config.Budgets.Requests.Of(ctx)
	defer leave()
	replies, leave := n.mesh.config.Budgets.Answers.Of(ctx)
	defer leave()
	t := &taking{n, requests.Lone("stream", budget.StreamRequests), replies.Lone("stream", budget.StreamAnswers)}
	answers := make(chan answer, inFlight)
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := budget.Guard{Contended: t.contended, Cut: func() { stream.CancelWrite(codeSlow) }}.Writer(stream)
		if err := writeAnswers(ctx, bufio.NewWriterSize(out, 64<<10), answers); err != nil {
			n.mesh.config.Logger.Debug("answering events", "from", from, "error", err)
			cancel()
		}
	}()

	err := t.readEvents(ctx, from, bufio.NewReaderSize(stream, 64<<10), answers)
	close(answers)
	<-done
	for a := range answers { // which nobody writes any more
		a.release()
	}

	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, io.EOF) {
		n.mesh.config.Logger.Debug("taking events", "from", from, "error", err)
	}

	stream.CancelRead(codeDone)
	if err := stream.Close(); err != nil {
		n.mesh.config.Logger.Debug("closing an events stream", "from", from, "error", err)
	}
}

func (t *taking) contended() bool { return t.replies.Contended() || t.requests.Contended() }

// answer is a reply that is there, or one to wait for.
type answer struct {
	pending *host.Pending
	err     error
}

// release says that the answer is written, or never will be.
func (a *answer) release() {
	if a.pending != nil {
		a.pending.Drop()
	}
}

// errStopped ends an events stream after an event that was not applied, so
// that none after it overtakes it.
var errStopped = errors.New("an event was not applied")

func (t *taking) readEvents(ctx context.Context, from identity.NodeID, r *bufio.Reader, answers chan<- answer) error {
	b, err := canon.ReadFrame(r, 1024)
	if err != nil {
		return err
	}

	var open openEvents
	if err := canon.Unmarshal(b, &open); err != nil {
		return fmt.Errorf("opening an events stream: %w", err)
	}

	sender := senderOf{mesh: t.node.mesh, peer: from}
	var before []*host.Pending // in order
	for {
		// The daemon may have gone, and be back: what it gave up comes first then.
		p, err := t.next(ctx, r, open.Entity, &sender, func() error {
			var err error
			before, err = settled(ctx, before, func(p *host.Pending) *host.Pending { return p })
			return err
		})
		if errors.Is(err, errStopped) || errors.Is(err, errUnread) {
			return err
		}

		a := answer{p, err}
		select {
		case answers <- a:
		case <-ctx.Done():
			a.release()
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

// errUnread wraps why an event could not be read from a stream.
var errUnread = errors.New("reading an event")

// next reads an event and gives it to its daemon. Its bytes count in the budget of
// requests until it is applied. settle says whether those before it allow that.
func (t *taking) next(ctx context.Context, r *bufio.Reader, to identity.EntityID, sender *senderOf, settle func() error) (*host.Pending, error) {
	size := int64(0)
	defer func() { t.requests.Release(size) }()
	b, err := canon.ReadFrameAdmitted(r, maxEventFrame, func(n int) error {
		err := t.requests.Acquire(ctx, int64(n))
		if err == nil {
			size = int64(n)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}

	ev, err := decodeEvent(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	if settle() != nil {
		return nil, errStopped
	}

	event := daemon.Event{Number: ev.Number, Via: sender.peer, Channel: ev.Channel, Payload: ev.Payload, Answers: t.replies}
	if event.Sender, err = sender.of(ev.Sender); err != nil {
		return nil, err
	}
	return t.node.local.Submit(ctx, to, event)
}

func writeAnswers(ctx context.Context, w *bufio.Writer, answers <-chan answer) error {
	for a := range answers {
		if err := a.writeTo(ctx, w); err != nil {
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

// writeTo waits for the answer, after a flush of those before it, writes it, and releases
// it in any case.
func (a *answer) writeTo(ctx context.Context, w *bufio.Writer) error {
	defer a.release()
	var res daemon.Result
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

	return writeItem(w, replyOf(res, err))
}
