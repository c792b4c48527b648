package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// compareWithOne returns how the standby stands; nil where it cannot say.
func (c *Member) compareWithOne(ctx context.Context, n identity.NodeID, id identity.EntityID, ours reach.Extent, e directory.Entry) (*rival, error) {
	nonce := make([]byte, standby.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	m := &standby.Compare{Version: standby.Proving, Entity: id, Epoch: e.Epoch, Next: ours.Next, Sum: []byte{}, Nonce: nonce}
	if ours.Next > 0 {
		m.Sum = ours.Sum[:]
	}
	s, err := c.askStandby(ctx, n, m)
	if err != nil || s == nil {
		return nil, err
	}
	theirs := reach.Extent{Epoch: s.Epoch, Next: s.Next}
	copy(theirs.Sum[:], s.Sum)
	var oursAt []byte
	if theirs.Next > 0 && theirs.Next < ours.Next {
		if oursAt, err = reach.SumAt(c.env.Store, id, theirs.Next-1); err != nil {
			return nil, err
		}
	}
	rel := reach.Relate(ours, theirs, oursAt, canon.OrNil(s.At))
	r := &rival{node: n, verdict: reach.Judge(rel, ours, theirs, e.Epoch), forked: rel == reach.Forked, has: theirs, sound: s.Sound, whole: s.Whole, proof: s.Proof}
	if r.verdict == reach.OursGoesOn {
		return r, nil
	}
	if proven, err := reach.Verify(s.Proof, id, n, nonce); len(s.Proof) > 0 && (err != nil || proven != theirs) {
		return nil, fmt.Errorf("%w: it says that it has %d records: %v", reach.ErrBadProof, theirs.Next, err)
	}
	if len(s.Proof) == 0 || !s.Sound { // it cannot go on, and what is here is not all
		r.verdict = reach.Undecided
	}
	return r, nil
}

// askStandby asks one standby. nil, nil: it is of a version that cannot answer.
func (c *Member) askStandby(ctx context.Context, n identity.NodeID, m *standby.Compare) (*standby.Stands, error) {
	peer, err := c.config.Mesh.Peer(n)
	if err != nil {
		return nil, err
	}
	conn, err := peer.OpenStandby(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Abort()
	if err := standby.SendNow(conn, m); err != nil {
		return nil, err
	}
	msg, err := conn.Recv()
	switch msg := msg.(type) {
	case *standby.Stands:
		return msg, nil
	case *standby.Refuse:
		return nil, errors.New(msg.Text)
	}
	if err == nil {
		return nil, fmt.Errorf("%w: a %T in answer", standby.ErrBadMessage, msg)
	}
	if c.isOfVersion1(ctx, peer, m) {
		c.env.Logger.Warn("a standby of an older version cannot be compared with", "daemon", m.Entity.Origin(), "standby", n)
		return nil, nil
	}
	return nil, err
}

// isOfVersion1 reports whether the peer refuses version 2 of the protocol by its number.
func (c *Member) isOfVersion1(ctx context.Context, peer mesh.Peer, m *standby.Compare) bool {
	conn, err := peer.OpenStandby(ctx)
	if err != nil {
		return false
	}
	defer conn.Abort()
	if err := standby.SendNow(conn, &standby.Follow{Version: standby.Proving, Entity: m.Entity, Epoch: m.Epoch, Module: []byte{}}); err != nil {
		return false
	}
	msg, err := conn.Recv()
	refuse, ok := msg.(*standby.Refuse)
	return err == nil && ok && standby.IsRefused(refuse.Text, standby.Proving)
}
