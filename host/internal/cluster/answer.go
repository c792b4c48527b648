package cluster

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// answerCompare tells the daemon's owner, or another standby in sync, how far the copy
// here reaches.
func (c *Member) answerCompare(ctx context.Context, from identity.NodeID, conn standby.Conn, m *standby.Compare) {
	s, err := c.comparedWith(ctx, from, m)
	var out standby.Message = s
	if err != nil {
		c.env.Logger.Warn("a node compares itself with the copy here, and is refused", "daemon", m.Entity.Origin(), "from", from, "error", err)
		text := err.Error()
		out = &standby.Refuse{Text: text[:min(len(text), 1024)]}
	}
	if err := standby.SendNow(conn, out); err != nil {
		c.env.Logger.Debug("answering a comparison", "from", from, "error", err)
	}
}

// comparedWith makes the answer to a Compare.
func (c *Member) comparedWith(ctx context.Context, from identity.NodeID, m *standby.Compare) (*standby.Stands, error) {
	switch {
	case m.Version != standby.Proving:
		return nil, fmt.Errorf("version %d of the standby protocol, this node speaks %d", m.Version, standby.Proving)
	case c.config.Node.Ready() != nil:
		return nil, c.config.Node.Ready()
	}
	e, err := c.directory.Read(ctx, m.Entity)
	if err != nil {
		return nil, err
	}
	if e.Owner != from && !e.InSync(from) || e.Epoch != m.Epoch {
		return nil, fmt.Errorf("node %s owns the daemon, epoch %d", e.Owner, e.Epoch)
	}
	s := c.copies.Find(m.Entity)
	if s == nil {
		if c.config.Table.Daemon(m.Entity) != nil {
			return nil, errors.New("the daemon itself is here")
		}
		return &standby.Stands{Sum: []byte{}, At: []byte{}, Proof: []byte{}}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.env.Context, cancel)()
	done, err := s.Still(ctx, e.Owner == from)
	if err != nil {
		return nil, errors.Join(c.config.Node.Open(), err)
	}
	defer done()
	return c.standsAt(s, m)
}

func (c *Member) standsAt(s *standbys.Standby, m *standby.Compare) (*standby.Stands, error) {
	id := s.Entity()
	has, err := reach.Of(c.env.Store, id)
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, journal.ErrMalformed) { // it is of no use
		return &standby.Stands{Sum: []byte{}, At: []byte{}, Proof: []byte{}}, nil
	}
	if err != nil {
		return nil, err
	}
	copied := s.State()
	out := &standby.Stands{Epoch: has.Epoch, Next: has.Next, Sum: []byte{}, At: []byte{}, Sound: copied.Sound && copied.Record != nil, Whole: copied.Whole, Proof: []byte{}}
	if has.Next == 0 {
		return out, nil
	}
	out.Sum = has.Sum[:]
	if m.Next > 0 && m.Next <= has.Next {
		at, err := reach.SumAt(c.env.Store, id, m.Next-1)
		if err != nil {
			return nil, err
		}
		out.At = append(out.At, at...)
	}
	if copied.Record == nil {
		return out, nil
	}
	rec, err := stored.DecodeRecord(copied.Record)
	if err != nil {
		return nil, err
	}
	proof, err := reach.Prove(c.env.Node, id, has, rec.Key, standbyLink, m.Nonce)
	if err != nil {
		c.env.Logger.Warn("signing how far a copy reaches", "daemon", id.Origin(), "error", err)
	}
	out.Proof = append(out.Proof, proof...)
	return out, nil
}
