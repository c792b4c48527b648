package leader

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// A standby that comes back, or whose owner does, has most of a daemon's state. It says
// which records of the state it has, and is sent the others.

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
	id := f.leader.daemon.Entity()
	var parts []standby.StatePart
	err := standby.EachStatePart(f.leader.group.env.Store, id, func(p standby.StatePart) error {
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
	if len(parts) == 0 || len(held) == 0 || parts[0].Table != store.Snapshots || !isHeld(has, parts[0].Held()) {
		clear(has)
		out.Parts = store.ForgetStateParts()
	}
	size := 0
	for _, p := range parts {
		if isHeld(has, p.Held()) {
			delete(has, string(p.Table)+string(p.Key))
			continue
		}
		part := store.StatePart(p.Table, p.Key, p.Data)
		if d, apart := snapshot.FileOf(&part); apart {
			out.files = append(out.files, d)
		}
		delete(has, string(p.Table)+string(p.Key))
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

// storeAnew stores the state of a daemon that came with one in a file, so that it
// goes to standbys. It is done once; it reports whether it was.
func (l *Leader) storeAnew() (bool, error) {
	l.mu.Lock()
	done := l.anew
	l.anew = true
	l.mu.Unlock()
	if done {
		return false, nil
	}

	stored, err := l.daemon.StoreWhole()
	if !stored && err == nil { // it is looked at again
		l.mu.Lock()
		l.anew = false
		l.mu.Unlock()
	}
	return stored, err
}
