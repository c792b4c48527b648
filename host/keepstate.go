package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A standby that comes back, or whose owner does, has most of a daemon's state. It says
// which records of the state it has, and is sent the others.

// statePart is a record of a daemon's state in the store.
type statePart struct {
	table     store.Table
	key, data []byte // key is behind the daemon's id
}

func (p *statePart) held() standby.HeldPart {
	sum := sha256.Sum256(p.data)
	return standby.HeldPart{Table: byte(p.table), Key: p.key, Sum: sum[:]}
}

// eachStatePart visits the records of the daemon's state, in order. They are visit's.
func eachStatePart(st *store.Store, id identity.EntityID, visit func(statePart) error) error {
	for _, t := range []store.Table{store.Snapshots, store.Deltas} {
		err := st.ScanPrefix(t, id[:], func(k, v []byte) error {
			return visit(statePart{t, bytes.Clone(k[len(id):]), bytes.Clone(v)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sayState tells the owner what is here of the daemon's state, but for what a missing
// file belongs to. Whether the copy is of use does not matter: what is the same is.
func (in *receiving) sayState() error {
	out := &standby.State{Parts: []standby.HeldPart{}}
	err := eachStatePart(in.r.env.Store, in.s.id, func(p statePart) error {
		if len(out.Parts) == standby.MaxHeld {
			return store.ErrStop
		}
		if d, apart := apartIn(&store.Part{Table: byte(p.table), Kind: 's', Value: p.data}); apart {
			file, _, err := in.r.env.Store.OpenState(in.s.id, d)
			if errors.Is(err, store.ErrCorrupt) {
				return nil // it is sent again
			}
			if err == nil {
				err = file.Close()
			}
			if err != nil {
				return err
			}
		}
		out.Parts = append(out.Parts, p.held())
		return nil
	})
	if err != nil {
		return err
	}
	return sendNow(in.conn, out)
}

// heldState is the standby's word of what it has of the state; none by a version that
// does not say it.
func (f *follower) heldState(conn standby.Conn) ([]standby.HeldPart, error) {
	if f.speaks < standby.Keeping {
		return nil, nil
	}
	msg, err := conn.Recv()
	if err != nil {
		return nil, err
	}
	state, ok := msg.(*standby.State)
	if !ok {
		return nil, fmt.Errorf("%w: a %T after Have", standby.ErrBadMessage, msg)
	}
	return state.Parts, nil
}

// lacks makes the batch by which a standby that has held has the state as it is here;
// without parts where it has that. Deltas are of use behind their snapshot alone.
func (f *follower) lacks(held []standby.HeldPart) (sending, error) {
	out := sending{Batch: &standby.Batch{Parts: []store.Part{}}}
	r, id := f.leader.c.rt, f.leader.d.id
	var parts []statePart
	err := eachStatePart(r.env.Store, id, func(p statePart) error {
		parts = append(parts, p)
		return nil
	})
	if err != nil {
		return out, err
	}
	has := make(map[string]standby.HeldPart)
	for _, p := range held {
		has[string(p.Table)+string(p.Key)] = p
	}
	if len(parts) == 0 || len(held) == 0 || parts[0].table != store.Snapshots || !isHeld(has, parts[0].held()) {
		clear(has)
		out.Parts = store.ForgetStateParts()
	}
	size := 0
	for _, p := range parts {
		if isHeld(has, p.held()) {
			delete(has, string(p.table)+string(p.key))
			continue
		}
		part := store.StatePart(p.table, p.key, p.data)
		if d, apart := apartIn(&part); apart {
			out.files = append(out.files, d)
		}
		delete(has, string(p.table)+string(p.key))
		out.Parts, size = append(out.Parts, part), size+part.Size()
	}
	for _, k := range slices.Sorted(maps.Keys(has)) {
		out.Parts = append(out.Parts, store.Part{Table: has[k].Table, Kind: 'd', Key: has[k].Key, Value: []byte{}})
	}
	if len(out.files) > 0 { // it came with that, and may not need one here
		if done, err := f.leader.storeAnew(); done || err != nil {
			return out, errors.Join(err, errStoredAnew)
		}
	}
	if size > standby.MaxMessage-standby.Chunk {
		return out, fmt.Errorf("%w: a state of %d bytes, a standby takes %d", daemon.ErrTooLarge, size, standby.MaxMessage-standby.Chunk)
	}
	return out, nil
}

// isHeld reports whether that record is among those that the standby has.
func isHeld(has map[string]standby.HeldPart, p standby.HeldPart) bool {
	h, ok := has[string(p.Table)+string(p.Key)]
	return ok && bytes.Equal(h.Sum, p.Sum)
}

// dearForStandbys reports whether storing the state now would send all of a large state
// to standbys: at an end what came since is rather replayed at the next start. It needs
// d.mu.
func (d *hosted) dearForStandbys() bool {
	return d.hasStandbys() && d.saved.bytes >= largeState && !d.nextIsDelta()
}
