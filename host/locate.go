package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/residence"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Where a daemon is, on proof: what a node says of a daemon that it claims to have is
// asked for before anything is sent to it. In a cluster the directory is the proof.

// locatePatience is how long a node has to prove that it has a daemon.
const locatePatience = 5 * time.Second

// lastOwner returns who this node knows, on proof, to have owned the daemon last.
func (r *Runtime) lastOwner(id identity.EntityID) (residence.Owner, bool, error) {
	w, err := r.table.Find(id)
	if err != nil {
		return residence.Owner{}, false, err
	}
	t := w.Went
	last, ok := r.resided.LastOf(id)
	if t.Epoch > 0 && !t.Stopped && (!ok || t.Epoch > last.Epoch) {
		return residence.Owner{Node: t.Node, Epoch: t.Epoch}, true, nil // this node itself gave it away
	}
	return last, ok, nil
}

// Proven is where a daemon is, on proof.
type Proven struct {
	daemon.Moved
	Rank    uint64 // the epoch up to which its owners are accounted for; of two claims that cannot both be true the higher one counts
	Follows bool   // it follows on what this node knew, or the directory says so

	until time.Time // zero: nothing is to be kept of it
}

// Believe is Weigh of the one claim that there is, which is kept for as long as its
// statement holds, a minute at most.
func (r *Runtime) Believe(ctx context.Context, id identity.EntityID, node, by identity.NodeID) (Proven, error) {
	p, err := r.Places().Weigh(ctx, id, node, by)
	if err == nil {
		r.Places().Remember(p)
	}
	return p, err
}

// Remember keeps a claim that Weigh returned and that counts.
func (r Places) Remember(p Proven) {
	if !p.until.IsZero() {
		r.rt.resided.Put(residence.Place{Entity: p.Entity, Node: p.Node}, residence.Kept{Epoch: p.Epoch, Rank: p.Rank, Until: p.until})
	}
}

// Weigh returns where the daemon is, where a node is said to have it: there, on that
// node's proof, or where the cluster's directory says that it is. by is the node that
// said so, where that is known: the last owner's own word is proof that it gave the
// daemon away. Errors: ErrUnproven, ErrUnreachable, channel.ErrNoReceiver where the
// node says that it does not have it, *MovedError where it says that it gave it away.
func (r Places) Weigh(ctx context.Context, id identity.EntityID, node, by identity.NodeID) (Proven, error) {
	if node == r.rt.env.Self {
		return Proven{Moved: daemon.Moved{Entity: id, Node: node}, Follows: true}, nil
	}
	if p, listed, err := r.rt.listed(ctx, id, node); listed || err != nil {
		return p, err
	}
	at := residence.Place{Entity: id, Node: node}
	if p, ok := r.rt.resided.Get(at, r.rt.env.Clock()); ok {
		return Proven{Moved: daemon.Moved{Entity: id, Node: node, Epoch: p.Epoch}, Rank: p.Rank, Follows: true}, nil
	}
	asked := r.rt.env.Clock()
	proof, err := r.rt.askWhere(ctx, id, node)
	if err != nil {
		return Proven{}, err
	}
	last, known, err := r.rt.lastOwner(id)
	if err != nil {
		return Proven{}, err
	}
	if known && by != last.Node && !r.rt.succeeds(ctx, id, proof, last) {
		return Proven{}, fmt.Errorf("%w: node %s claims daemon %s at epoch %d, and node %s, which had it at epoch %d, is not known to have given it away",
			daemon.ErrUnproven, node, id.Origin(), proof.Epoch, last.Node, last.Epoch)
	}
	return Proven{Moved: daemon.Moved{Entity: id, Node: node, Epoch: proof.Epoch, Time: asked}, Rank: proof.Rank(), Follows: known, until: asked.Add(proof.Holds)}, nil
}

// listed is what the directory says, where this node is in a cluster and the daemon is
// listed there.
func (r *Runtime) listed(ctx context.Context, id identity.EntityID, node identity.NodeID) (Proven, bool, error) {
	if r.cluster == nil {
		return Proven{}, false, nil
	}
	e, ok := r.cluster.Directory().Look(id)
	if ok && e.Owner != node { // what was heard last may be old
		ctx, cancel := context.WithTimeout(ctx, locatePatience)
		defer cancel()
		now, err := r.cluster.Directory().Read(ctx, id)
		switch {
		case err == nil:
			e = now
		case errors.Is(err, directory.ErrNotListed):
			return Proven{}, false, nil
		default:
			return Proven{}, true, fmt.Errorf("%w: node %s, and the directory names node %s as daemon %s's owner: %w", daemon.ErrUnproven, node, e.Owner, id.Origin(), err)
		}
	}
	return Proven{Moved: daemon.Moved{Entity: id, Node: e.Owner, Epoch: e.Epoch}, Rank: e.Epoch, Follows: true}, ok, nil
}

// mostHops is how many nodes in a row are asked that each say that another has the daemon.
const mostHops = 8

// succeeds reports whether the last known owner has given the daemon away to the
// claimant, over whatever nodes: by their receipts, or by their own words.
func (r *Runtime) succeeds(ctx context.Context, id identity.EntityID, claim *residence.Proof, last residence.Owner) bool {
	if claim.Node == last.Node {
		return claim.Epoch >= last.Epoch
	}
	if last.Led(claim.Moves, claim.Node) || r.arrivals.Named(id, claim.Node) {
		return true
	}
	at := last.Node
	for range mostHops {
		if at == r.env.Self {
			to, ok := r.gaveTo(ctx, id)
			if !ok {
				return false
			}
			at = to
		} else {
			var moved *daemon.MovedError
			if _, err := r.askWhere(ctx, id, at); !errors.As(err, &moved) {
				return false
			}
			at = moved.Node
		}
		if at == claim.Node {
			return true
		}
	}
	return false
}

// gaveTo returns the node that this one gave the daemon away to. It waits for a move that
// is at its end.
func (r *Runtime) gaveTo(ctx context.Context, id identity.EntityID) (identity.NodeID, bool) {
	d, err := r.find(id)
	if err == nil {
		if err = d.Look(ctx); err == nil {
			d.Unlock()
		}
	}
	var moved *daemon.MovedError
	if !errors.As(err, &moved) {
		return 0, false
	}
	return moved.Node, true
}

// askWhere has a node prove that it has the daemon.
func (r *Runtime) askWhere(ctx context.Context, id identity.EntityID, node identity.NodeID) (*residence.Proof, error) {
	proof, _, err := r.askResidence(ctx, id, node)
	return proof, err
}

// askResidence is askWhere with the statement that proves it.
func (r *Runtime) askResidence(ctx context.Context, id identity.EntityID, node identity.NodeID) (*residence.Proof, *residence.Statement, error) {
	ctx, cancel := context.WithTimeout(ctx, locatePatience)
	defer cancel()
	conn, err := r.openChannel(ctx, node)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Abort()
	ask := &channel.Locate{Version: channel.Version, Entity: id, Nonce: make([]byte, residence.NonceSize)}
	_, _ = rand.Read(ask.Nonce) // never fails
	err = errors.Join(conn.Send(ask), conn.Flush())
	var msg channel.Message
	if err == nil {
		msg, err = conn.Recv()
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, node, context.Cause(ctx))
		}
		// The stream broke, which an older version does that does not know the question. It
		// may be asked again.
		return nil, nil, fmt.Errorf("%w: %w: node %s gives no answer to where daemon %s is; an older version has none: %w", daemon.ErrUnproven, mesh.ErrUnreachable, node, id.Origin(), err)
	}
	switch msg := msg.(type) {
	case *channel.Located:
		s, err := residence.Decode(msg.Statement)
		if err != nil {
			return nil, nil, err
		}
		proof, err := s.Verify(id, node, ask.Nonce, r.arrivals.Named(id, node))
		return proof, s, err
	case *channel.Moved:
		return nil, nil, &daemon.MovedError{Moved: daemon.Moved{Entity: id, Node: msg.Node}}
	case *channel.Refused:
		return nil, nil, refusedBy(node, msg)
	}
	return nil, nil, fmt.Errorf("%w: node %s answers with a %T", daemon.ErrUnproven, node, msg)
}

// serveLocate proves that this node has a daemon.
func (r *Runtime) serveLocate(ctx context.Context, conn channel.Conn, m *channel.Locate) error {
	ctx, cancel := context.WithTimeout(ctx, locatePatience)
	defer cancel()
	s, err := r.stateResidence(ctx, m.Entity, m.Nonce)
	if errors.Is(err, daemon.ErrStopped) || errors.Is(err, daemon.ErrNotFound) { // it ended while it was looked at
		return fmt.Errorf("%w: %w", channel.ErrNoReceiver, err)
	}
	if err != nil {
		return err
	}
	b, err := canon.Marshal(s)
	if err != nil {
		return err
	}
	return errors.Join(conn.Send(&channel.Located{Statement: b}), conn.Flush())
}

// stateResidence makes the statement that a daemon is here.
func (r *Runtime) stateResidence(ctx context.Context, id identity.EntityID, nonce []byte) (*residence.Statement, error) {
	if err := r.Node().Holding(); err != nil {
		return nil, fmt.Errorf("%w: %w", channel.ErrNotReady, err)
	}
	moves, err := r.evidence.Earlier(id)
	if err != nil {
		return nil, err
	}
	d, err := r.receiverOf(id)
	if err != nil {
		return nil, err
	}
	if err := d.Look(ctx); err != nil {
		if ctx.Err() != nil || !d.CannotGoOn() {
			return nil, err
		}
		if peekErr := d.Peek(ctx); peekErr != nil {
			return nil, errors.Join(err, peekErr)
		}
		if !d.Position().State.Broken() || !d.Position().Key.CanSign() {
			d.Unlock()
			return nil, err
		}
		// It is here, and says itself why it takes no events.
	}
	defer d.Unlock()

	now := r.env.Clock()
	s := &residence.Statement{Version: residence.Version, Entity: id, Node: r.env.Node.ID(), Epoch: d.Position().Epoch, Index: d.Position().Next, Head: d.Position().HeadHash, Nonce: nonce,
		Time: now.UnixNano(), Expires: now.Add(residence.HoldsFor).UnixNano()}
	for _, b := range moves {
		if rec, err := chain.DecodeReceipt(b); err == nil && rec.Facts.Epoch <= d.Position().Epoch {
			s.Moves = append(s.Moves, b)
		}
	}
	if !d.Position().Key.CanSign() {
		if s.Handover, err = d.Moves().CameBy(); err != nil {
			return nil, err
		}
	}
	return s, s.Sign(d.Position().Key, r.env.Node)
}
