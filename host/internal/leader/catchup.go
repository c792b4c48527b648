package leader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"

	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// catchUp sends what the standby lacks of what the store keeps. held is what it has of
// the state.
func (f *follower) catchUp(ctx context.Context, conn standby.Conn, have *standby.Have, held []standby.HeldPart) error {
	s, id := f.leader.group.env.Store, f.leader.daemon.Entity()
	// The state is read before the history's end is looked for, and sent after the
	// history: what the standby has never stands behind the end of its history.
	state, err := f.lacks(held)
	if err != nil {
		return err
	}
	from, end, err := f.goesOnFrom(have)
	if err != nil {
		return err
	}
	if from == 0 && have.Next > 0 { // what it has of the state goes with its history
		if state, err = f.lacks(nil); err != nil {
			return err
		}
		if from, end, err = f.goesOnFrom(have); err != nil {
			return err
		}
	}
	if from == 0 {
		// What it has is to be removed: it may not be held for one in sync meanwhile.
		if err := f.leader.part(ctx, f.node, "it has another history"); err != nil {
			return err
		}
		if err := f.prove(conn); err != nil {
			return err
		}
		if err := conn.Send(&standby.Reset{}); err != nil {
			return err
		}
	}
	out := gathering{conn: conn}
	err = s.ReadHistory(id, from, end, func(index uint64, rec []byte) error {
		return out.add(store.RecordPart(id, index, bytes.Clone(rec)))
	})
	if err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	if len(state.Parts) > 0 {
		if err := f.sendFiles(ctx, conn, state); err != nil {
			return err
		}
		if err := conn.Send(state.Batch); err != nil {
			return err
		}
	}
	peer, err := f.leader.group.mesh.Peer(f.node)
	if err != nil {
		return err
	}
	rec, err := f.leader.group.node.RecordFor(ctx, id, peer)
	if err != nil {
		return err
	}
	if err := conn.Send(&standby.Record{Bytes: rec}); err != nil {
		return err
	}
	return f.tellLasting(conn)
}

// goesOnFrom returns from which record on the standby is sent the history, and where that
// ends: 0, where what it has is not the beginning of what is here.
func (f *follower) goesOnFrom(have *standby.Have) (from, end uint64, err error) {
	s, id := f.leader.group.env.Store, f.leader.daemon.Entity()
	first, err := f.leader.group.node.FirstRecord(id)
	if err != nil {
		return 0, 0, err
	}
	if end, err = s.HistoryEnd(id); err != nil {
		return 0, 0, err
	}
	if from = have.Next; from == 0 || from <= first || from > end {
		return 0, end, nil
	}
	same := false
	err = s.ReadHistory(id, from-1, from, func(_ uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		same = bytes.Equal(sum[:], have.Sum)
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrCorrupt) { // it may be trimmed here
		return 0, 0, err
	}
	if !same {
		from = 0
	}
	return from, end, nil
}

// prove sends the standby the proof of how far the history here goes, so that it drops
// its copy for that. A daemon without its key here proves nothing.
func (f *follower) prove(conn standby.Conn) error {
	if f.speaks < standby.Proving {
		return nil
	}
	proof, err := f.leader.group.node.ProveReach(f.leader.daemon.Entity())
	if err != nil || proof == nil {
		return err
	}
	return conn.Send(&standby.Proof{Bytes: proof})
}

// gathering sends parts, many in one message.
type gathering struct {
	conn  standby.Conn
	parts []store.Part
	size  int
}

func (g *gathering) add(p store.Part) error {
	g.parts, g.size = append(g.parts, p), g.size+p.Size()
	if g.size < standby.Chunk {
		return nil
	}
	return g.flush()
}

func (g *gathering) flush() error {
	if len(g.parts) == 0 {
		return nil
	}
	err := g.conn.Send(&standby.Batch{Parts: g.parts})
	g.parts, g.size = nil, 0
	return err
}
