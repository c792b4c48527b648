package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/residence"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Nodes tell each other where the daemons stand that they have: at a start, at each new
// session of a peer, and before a migration is refused because the daemon is here. What
// a peer says so proves nothing. Where it says that a daemon stands elsewhere under an
// epoch that is not lower, that node is asked for its proof, a Residence signed by the
// daemon's key and the node's, with the receipts of the moves that lead to it:
//
//	the proof                                                   | the copy here
//	none, or of a lower epoch                                   | goes on
//	this node itself gave the daemon away, under a later epoch  | held (HoldSurpassed), the proof is kept
//	owners are accounted for up to a higher epoch than here     | held (HoldSurpassed), the proof is kept
//	owners are accounted for up to the epoch here               | held (HoldForked), the proof is kept; so is the copy there
//
// A daemon that the cluster's directory lists is the directory's affair.

// exchangePatience bounds one exchange with one peer, startPatience those before a
// node is ready.
const (
	exchangePatience = 15 * time.Second
	startPatience    = time.Second
)

// exchanges bounds how many peers are asked at a time, and has one exchange with each.
type exchanges struct {
	places chan struct{}

	mu    lock.Mutex[lock.Queue]
	under map[identity.NodeID]bool // true: another is due after the one that runs
}

const maxExchanges = 8 // exchanges of where daemons stand with peers, at a time

func newExchanges() *exchanges {
	return &exchanges{places: make(chan struct{}, maxExchanges), under: make(map[identity.NodeID]bool)}
}

// PeerCame tells the runtime of a new session with a peer. It does not block.
func (r Unconfirmed) PeerCame(peer identity.NodeID) {
	x := r.rt.exchanges
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, runs := x.under[peer]; runs {
		x.under[peer] = true
		return
	}
	if r.rt.ready() != nil || !r.rt.env.Work.Begin() {
		return
	}
	x.under[peer] = false
	go func() {
		defer r.rt.env.Work.Done()
		for again := true; again; {
			if err := r.rt.exchange(r.rt.env.Context, peer); err != nil && r.rt.env.Context.Err() == nil {
				r.rt.env.Logger.Debug("telling a peer where daemons stand", "peer", peer, "error", err)
			}
			x.mu.Lock()
			if again = x.under[peer] && r.rt.env.Context.Err() == nil; again {
				x.under[peer] = false
			} else {
				delete(x.under, peer)
			}
			x.mu.Unlock()
		}
	}()
}

// exchange tells the peer of all daemons here, and has it prove what stands further.
func (r *Runtime) exchange(ctx context.Context, peer identity.NodeID) error {
	select {
	case r.exchanges.places <- struct{}{}:
		defer func() { <-r.exchanges.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ours := r.standings()
	for len(ours) > 0 {
		n := min(len(ours), channel.MaxStandings)
		if err := r.exchangeSome(ctx, peer, ours[:n]); err != nil {
			return err
		}
		ours = ours[n:]
	}
	return nil
}

// standings are where the daemons here stand, but those that the directory lists.
func (r *Runtime) standings() []channel.Standing {
	all := r.table.Daemons()
	var out []channel.Standing
	for _, d := range all {
		if s, ok := d.Standing(); ok {
			out = append(out, s)
		}
	}
	return out
}

func (r *Runtime) exchangeSome(ctx context.Context, peer identity.NodeID, ours []channel.Standing) error {
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	further, err := r.askStandings(ctx, peer, ours)
	if err != nil {
		return err
	}
	told := make(map[identity.EntityID]uint64, len(ours))
	for _, s := range ours {
		told[s.Entity] = s.Epoch
	}
	for _, s := range further {
		if epoch, ok := told[s.Entity]; ok && s.Epoch >= epoch && s.Node != r.env.Self {
			err = errors.Join(err, r.hearOne(ctx, s))
		}
	}
	return err
}

// askStandings tells the peer where daemons stand here, and returns what stands further
// there. A peer of an older version breaks the stream.
func (r *Runtime) askStandings(ctx context.Context, peer identity.NodeID, ours []channel.Standing) ([]channel.Standing, error) {
	conn, err := r.openChannel(ctx, peer)
	if err != nil {
		return nil, err
	}
	defer conn.Abort()
	if err := errors.Join(conn.Send(&channel.Standings{Version: channel.Version, Daemons: ours}), conn.Flush()); err != nil {
		return nil, err
	}
	msg, err := conn.Recv()
	if err != nil {
		return nil, err
	}
	switch msg := msg.(type) {
	case *channel.Further:
		return msg.Daemons, nil
	case *channel.Refused:
		return nil, refusedBy(peer, msg)
	}
	return nil, fmt.Errorf("%w: a %T in answer", channel.ErrBadMessage, msg)
}

// serveStandings answers which of the daemons stand here, or went from here, under an
// epoch that is not lower. What the peer has under a higher one is asked for in turn.
func (r *Runtime) serveStandings(conn channel.Conn, from identity.NodeID, m *channel.Standings) error {
	out := &channel.Further{Daemons: []channel.Standing{}}
	for _, s := range m.Daemons {
		w, err := r.table.Find(s.Entity)
		if err != nil {
			return err
		}
		d, t := w.Here, w.Went
		switch {
		case d != nil:
			if ours, ok := d.Standing(); ok && ours.Epoch >= s.Epoch && !r.holds.Has(s.Entity) {
				out.Daemons = append(out.Daemons, ours)
			} else if ok && ours.Epoch < s.Epoch {
				defer r.Unconfirmed().PeerCame(from) // it may have more
			}
		case t.Epoch > s.Epoch && !t.Stopped:
			out.Daemons = append(out.Daemons, channel.Standing{Entity: s.Entity, Node: t.Node, Epoch: t.Epoch})
		}
	}
	return errors.Join(conn.Send(out), conn.Flush())
}

// hearOne asks for the proof of what a peer says of one daemon, and holds the copy here
// where it stands.
func (r *Runtime) hearOne(ctx context.Context, s channel.Standing) error {
	d, err := r.find(s.Entity)
	if err != nil || r.holds.Has(s.Entity) && !r.holds.IsUnconfirmed(s.Entity) {
		return nil // it is not here any more, or is held for a proof already
	}
	ours, ok := d.Standing()
	if !ok {
		return nil
	}
	h, err := r.further(ctx, s.Entity, ours.Epoch, s.Node)
	if err != nil || h == nil {
		return err
	}
	if now, ok := d.Standing(); !ok || now.Epoch != ours.Epoch {
		return nil // it moved, or was mended, meanwhile
	}
	if err := r.holds.Hold(s.Entity, h); err != nil {
		return err
	}
	if err := r.accuseHeld(ctx, d, h.Node); err != nil {
		r.env.Logger.Warn("looking for a proof that two histories were signed", "daemon", s.Entity.Origin(), "node", h.Node, "error", err)
	}
	return nil
}

// further has the node prove that it has the daemon, and returns the hold that follows
// for a copy under the epoch; nil: none does.
func (r *Runtime) further(ctx context.Context, id identity.EntityID, epoch uint64, node identity.NodeID) (*holds.Record, error) {
	proof, statement, err := r.askResidence(ctx, id, node)
	var moved *daemon.MovedError
	if errors.As(err, &moved) && moved.Node != r.env.Self && moved.Node != node {
		node = moved.Node
		proof, statement, err = r.askResidence(ctx, id, node)
	}
	if err != nil {
		return nil, fmt.Errorf("asking node %s to prove that it has daemon %s: %w", node, id.Origin(), err)
	}
	h := &holds.Record{Node: node, Epoch: proof.Epoch, Index: statement.Index}
	if h.Proof, err = canon.Marshal(statement); err != nil {
		return nil, err
	}
	switch led := (residence.Owner{Node: r.env.Self, Epoch: epoch}).Led(proof.Moves, node); {
	case proof.Epoch > epoch && (led || proof.Rank() > epoch):
		h.Reason = daemon.HoldSurpassed
		h.Why = fmt.Sprintf("node %s proves that it has the daemon under epoch %d, the copy here is of epoch %d", node, proof.Epoch, epoch)
	case proof.Epoch >= epoch && proof.Rank() == epoch:
		h.Reason = daemon.HoldForked
		h.Why = fmt.Sprintf("node %s has the daemon as well, under epoch %d, and nothing decides between it and the copy here, of epoch %d", node, proof.Epoch, epoch)
	default:
		return nil, nil
	}
	return h, nil
}

// askPeers has all peers that answer in time told where the daemons here stand.
func (r *Runtime) askPeers(ctx context.Context, patience time.Duration) {
	known, ok := r.mesh.(interface{ PeerIDs() []identity.NodeID })
	if !ok || len(r.standings()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var work sync.WaitGroup
	for _, peer := range known.PeerIDs() {
		work.Go(func() {
			if err := r.exchange(ctx, peer); err != nil {
				r.env.Logger.Debug("telling a peer where daemons stand", "peer", peer, "error", err)
			}
		})
	}
	work.Wait()
}

// peersCame is PeerCame of all peers.
func (r *Runtime) peersCame() {
	if known, ok := r.mesh.(interface{ PeerIDs() []identity.NodeID }); ok && len(r.standings()) > 0 {
		for _, peer := range known.PeerIDs() {
			r.Unconfirmed().PeerCame(peer)
		}
	}
}

// nobodyFurther returns ErrFurther where a node that answers now proves more of the
// daemon than this one has.
func (r *Runtime) nobodyFurther(ctx context.Context, id identity.EntityID) error {
	h := r.holds.Of(id)
	if h == nil || r.mesh == nil {
		return nil
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	ours, ok := d.Standing()
	if !ok {
		return nil // the directory decides
	}
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	nodes := []identity.NodeID{h.Node}
	if known, ok := r.mesh.(interface{ PeerIDs() []identity.NodeID }); ok && (h.Node == 0 || h.Node == r.env.Self) {
		nodes = known.PeerIDs()
	}
	var mu sync.Mutex
	var found error
	var work sync.WaitGroup
	for _, node := range nodes {
		work.Go(func() {
			found1, err := r.further(ctx, id, ours.Epoch, node)
			if err != nil || found1 == nil || found1.Reason != daemon.HoldSurpassed {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = fmt.Errorf("%w: %s", daemon.ErrFurther, found1.Why)
			if h.Node == 0 {
				r.holds.PointTo(id, found1)
			}
		})
	}
	work.Wait()
	return found
}
