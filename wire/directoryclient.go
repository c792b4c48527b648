package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// DirectoryClient is the directory of a cluster for a node without a vote: a
// directory.Engine that asks one node with a vote at a time, and another when that does
// not answer. It is safe for concurrent use.
type DirectoryClient struct {
	mesh    *Mesh
	cluster string

	mu     sync.Mutex
	voters []identity.NodeID             // whom to ask; the first is asked first
	follow map[*directoryStream]struct{} // watches
}

// maxSilence is how long a watch waits for a word of the other side.
const maxSilence = 5 * directory.AliveEvery

// AskDirectory makes a client of the nodes with a vote.
func (m *Mesh) AskDirectory(cluster string, voters []identity.NodeID) *DirectoryClient {
	return &DirectoryClient{mesh: m, cluster: cluster, voters: slices.Clone(voters), follow: make(map[*directoryStream]struct{})}
}

// order returns whom to ask: who was asked last, then those with a session, then others.
func (c *DirectoryClient) order() []identity.NodeID {
	c.mu.Lock()
	out := slices.Clone(c.voters)
	c.mu.Unlock()

	if len(out) > 1 && !c.mesh.connected(out[0]) {
		slices.SortStableFunc(out, func(a, b identity.NodeID) int {
			switch x, y := c.mesh.connected(a), c.mesh.connected(b); {
			case x == y:
				return 0
			case x:
				return -1
			default:
				return 1
			}
		})
	}

	return out
}

// failed has others asked before the node, and ends what is watched there.
func (c *DirectoryClient) failed(id identity.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.follow {
		if s.at == id {
			s.CancelRead(codeDone)
		}
	}

	if i := slices.Index(c.voters, id); i >= 0 {
		c.voters = append(slices.Delete(c.voters, i, i+1), id)
	}
}

// Commit implements directory.Engine.
func (c *DirectoryClient) Commit(ctx context.Context, conditions []directory.Condition, writes []directory.Write) (int64, error) {
	r := directory.NewRequest(directory.OpCommit, c.cluster)
	r.Commit(conditions, writes)
	a, err := c.ask(ctx, r)
	if err != nil {
		return 0, err
	}
	return a.Revision, nil
}

// Get implements directory.Engine.
func (c *DirectoryClient) Get(ctx context.Context, key string) ([]byte, int64, error) {
	r := directory.NewRequest(directory.OpGet, c.cluster)
	r.Key = key
	a, err := c.ask(ctx, r)
	if err != nil || a.Revision == 0 {
		return nil, 0, err
	}
	return a.Value, a.Revision, nil
}

// Voters lists the members of the engine, and remembers whom to ask.
func (c *DirectoryClient) Voters(ctx context.Context) ([]directory.Voter, error) {
	a, err := c.ask(ctx, directory.NewRequest(directory.OpVoters, c.cluster))
	if err != nil {
		return nil, err
	}

	out := make([]directory.Voter, len(a.Peers))
	for i, p := range a.Peers {
		out[i] = directory.Voter{Name: p.Name, Addr: p.Addr, Learner: p.Learner, Leader: p.Leader}
	}

	c.remember(out)
	return out, nil
}

// remember keeps the nodes with a vote, in the order in which they are to be asked.
func (c *DirectoryClient) remember(voters []directory.Voter) {
	var now []identity.NodeID
	for _, v := range voters {
		if id, err := identity.ParseNodeID(v.Name); err == nil && !v.Learner {
			now = append(now, id)
		}
	}

	if len(now) == 0 {
		return
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(c.voters), func(id identity.NodeID) bool { return !slices.Contains(now, id) })
	for _, id := range now {
		if !slices.Contains(kept, id) {
			kept = append(kept, id)
		}
	}

	c.voters = kept
}

// RemoveVoter takes a node out of the members of the engine.
func (c *DirectoryClient) RemoveVoter(ctx context.Context, id identity.NodeID) error {
	r := directory.NewRequest(directory.OpRemoveVoter, c.cluster)
	r.Node = id
	_, err := c.ask(ctx, r)
	return err
}

// Watch implements directory.Engine. It ends when the node that it watches at is silent.
func (c *DirectoryClient) Watch(ctx context.Context, prefix string, fn func(*directory.Change)) error {
	if _, err := c.Voters(ctx); err != nil {
		return err
	}

	r := directory.NewRequest(directory.OpWatch, c.cluster)
	r.Key = prefix
	b, err := r.Encode()
	if err != nil {
		return err
	}

	for _, id := range c.order() {
		var stream *directoryStream
		if stream, err = c.open(ctx, id, b); err != nil {
			continue
		}
		err = c.changes(ctx, stream, fn)
		c.failed(id)
		return err
	}

	return c.because(ctx, err)
}

// changes calls fn with what a watch is answered.
func (c *DirectoryClient) changes(ctx context.Context, s *directoryStream, fn func(*directory.Change)) error {
	c.mu.Lock()
	c.follow[s] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.follow, s)
		s.close()
	}()

	for {
		if err := s.SetReadDeadline(time.Now().Add(maxSilence)); err != nil {
			return err
		}

		a, err := s.read()
		if err == nil {
			err = a.Err()
		}

		if err != nil {
			return c.because(ctx, err)
		}

		switch {
		case a.Code == directory.AnswerAlive:
		case a.Code == directory.AnswerAll:
			fn(nil)
		case a.Gone:
			fn(&directory.Change{Key: a.Key, Revision: a.Revision})
		default:
			fn(&directory.Change{Key: a.Key, Value: a.Value, Revision: a.Revision})
		}
	}
}

// because is why a request failed: what ended its context, if that did.
func (c *DirectoryClient) because(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return fmt.Errorf("%w: this node knows no node with a vote", directory.ErrEngine)
	}
	return err
}

// ask puts one request. A node that was not reached is passed over; one that was may
// have done what it was asked, so that only requests that change nothing are put again.
func (c *DirectoryClient) ask(ctx context.Context, r *directory.Request) (*directory.Answer, error) {
	b, err := r.Encode()
	if err != nil {
		return nil, err
	}

	changes := r.Op == directory.OpCommit || r.Op == directory.OpRemoveVoter
	for _, id := range c.order() {
		var s *directoryStream
		if s, err = c.open(ctx, id, b); err != nil {
			continue
		}

		var a *directory.Answer
		if a, err = s.read(); err == nil {
			err = a.Err()
		}

		s.close()
		if err == nil || errors.Is(err, directory.ErrConflict) || errors.Is(err, directory.ErrRemoved) {
			return a, err
		}

		c.failed(id)
		if changes && s.cut == nil {
			break
		}
	}

	return nil, c.because(ctx, err)
}

// directoryRequest is an encoded request.
type directoryRequest []byte

// directoryStream is a request that was sent.
type directoryStream struct {
	*quic.Stream
	at   identity.NodeID
	stop func() bool
	cut  error // why the request did not go out whole: a node may answer before it has read it
}

func (c *DirectoryClient) open(ctx context.Context, id identity.NodeID, request directoryRequest) (*directoryStream, error) {
	s, err := c.mesh.open(ctx, id, purposeDirectory)
	if err != nil {
		c.failed(id)
		return nil, err
	}
	return request.writeTo(ctx, s, id), nil
}

// writeTo sends the request on s, a new stream to node id.
func (r directoryRequest) writeTo(ctx context.Context, s *quic.Stream, id identity.NodeID) *directoryStream {
	out := &directoryStream{Stream: s, at: id, stop: context.AfterFunc(ctx, func() { cut(s) })}
	if out.cut = canon.WriteFrame(s, r); out.cut == nil {
		_ = s.Close() // fails where the node has read what it wants, and says so
	}
	return out
}

func (s *directoryStream) read() (*directory.Answer, error) {
	b, err := canon.ReadFrame(s, directory.MaxAnswer)
	if err == nil {
		return directory.DecodeAnswer(b)
	}
	if e := (*quic.StreamError)(nil); errors.As(err, &e) && e.Remote && e.ErrorCode == codeAborted {
		return nil, fmt.Errorf("%w: node %s answers none of this version's requests, or was stopped", directory.ErrVersion, s.at)
	}
	return nil, fmt.Errorf("%w: node %s: %w", directory.ErrEngine, s.at, errors.Join(s.cut, err))
}

// close ends both directions.
func (s *directoryStream) close() {
	s.stop()
	s.CancelRead(codeDone)
}
