package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A copy that is held because another node has the daemon may have gone on beside that:
// then the daemon's key has signed two histories. The node of the held copy asks the
// other what was signed where its own history ends, and puts the contradiction on
// record, if there is one.

// accuseHeld holds what the node has signed against the history here.
func (r *Runtime) accuseHeld(ctx context.Context, d *engine.Daemon, node identity.NodeID) error {
	if r.env.Store == nil || d.Kind() == "" {
		return nil
	}
	end, seal, err := r.storedSeal(ctx, d.Entity())
	if err != nil {
		return err
	}
	head, err := r.lastOutput(d.Entity())
	if err != nil || head.Sequence == 0 {
		return err
	}
	theirs, err := r.askTestimony(ctx, node, d.Entity(), head.Epoch, head.Sequence)
	if err != nil {
		return err
	}
	if err := theirs.Verify(d.Entity()); err != nil {
		return fmt.Errorf("%w: %w", chain.ErrBadProof, err)
	}
	ours, err := evidence.HistorySource(r.env.Store, d.Entity(), theirs.From(), end, seal)
	if err != nil {
		return err
	}
	if err := r.evidence.Compare(d.Entity(), ours, theirs.Source); err != nil && !errors.Is(err, chain.ErrEquivocated) {
		return err
	}
	return nil
}

// lastOutput returns the link of the last output in the store's history; the zero
// link where there is none.
func (r *Runtime) lastOutput(id identity.EntityID) (chain.Link, error) {
	var out chain.Link
	err := r.env.Store.ReadHistoryBackward(id, func(_ uint64, b []byte) error {
		if e, ok := journal.ReadEvent(b); ok && len(e.Outputs) > 0 {
			links := e.Links()
			out = links[len(links)-1].Link
			return store.ErrStop
		}
		return nil
	})
	return out, err
}

func (r *Runtime) askTestimony(ctx context.Context, node identity.NodeID, id identity.EntityID, epoch, sequence uint64) (*chain.Statement, error) {
	conn, err := r.openChannel(ctx, node)
	if err != nil {
		return nil, err
	}
	defer conn.Abort()
	if err := errors.Join(conn.Send(&channel.Testify{Version: channel.Version, Entity: id, Epoch: epoch, Sequence: sequence}), conn.Flush()); err != nil {
		return nil, err
	}
	msg, err := conn.Recv()
	if err != nil {
		return nil, err
	}
	switch msg := msg.(type) {
	case *channel.Testified:
		return chain.DecodeStatement(msg.Statement)
	case *channel.Refused:
		return nil, refusedBy(node, msg)
	}
	return nil, fmt.Errorf("%w: a %T in answer", channel.ErrBadMessage, msg)
}

// serveTestify answers what a daemon that is here has signed at a place of its chain.
func (r *Runtime) serveTestify(conn channel.Conn, m *channel.Testify) error {
	s, err := r.testify(m.Entity, m.Epoch, m.Sequence)
	if err != nil {
		return err
	}
	b, err := canon.Marshal(s)
	if err != nil {
		return err
	}
	if len(b) > channel.MaxTestimony {
		return fmt.Errorf("%w: a statement of %d bytes", daemon.ErrTooLarge, len(b))
	}
	return errors.Join(conn.Send(&channel.Testified{Statement: b}), conn.Flush())
}

// maxTestified is how many history records are read to find what was signed.
const maxTestified = 1 << 14

// testify makes the statement of the last output of the epoch up to the sequence, by
// the checkpoint that signs it. ErrNoForkPoint where there is none within bounds.
func (r *Runtime) testify(id identity.EntityID, epoch, sequence uint64) (*chain.Statement, error) {
	if r.env.Store == nil {
		return nil, daemon.ErrNoHistory
	}
	if _, err := r.find(id); err != nil {
		return nil, err
	}
	at, found := uint64(0), false
	err := r.env.Store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		e, ok := journal.ReadEvent(b)
		if !ok || len(e.Outputs) == 0 {
			return nil
		}
		if e.Epoch < epoch {
			return store.ErrStop
		}
		if links := e.Links(); e.Epoch == epoch && links[0].Link.Sequence <= sequence {
			at, found = index, true
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: daemon %s has no output of epoch %d up to %d", daemon.ErrNoForkPoint, id.Origin(), epoch, sequence)
	}
	again := func(t *chain.Claims) error {
		read := 0
		return r.env.Store.ReadHistory(id, at, ^uint64(0), func(_ uint64, b []byte) error {
			if read++; read > maxTestified {
				return store.ErrStop
			}
			return evidence.AddRecord(t, b)
		})
	}
	var t chain.Claims
	if err := again(&t); err != nil {
		return nil, err
	}
	s, err := t.About(epoch, sequence, channel.MaxTestimony/2, again)
	if err == nil && s == nil {
		err = fmt.Errorf("%w: nothing near output %d of daemon %s is signed", daemon.ErrNoForkPoint, sequence, id.Origin())
	}
	return s, err
}
