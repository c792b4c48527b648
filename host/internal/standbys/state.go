package standbys

import (
	"errors"

	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// A standby that comes back, or whose owner does, has most of a daemon's state. It says
// which records of the state it has, and is sent the others.

// sayState tells the owner what is here of the daemon's state, but for what a missing
// file belongs to. Whether the copy is of use does not matter: what is the same is.
func (in *receiving) sayState() error {
	out := &standby.State{Parts: []standby.HeldPart{}}
	err := standby.EachStatePart(in.set.env.Store, in.s.id, func(p standby.StatePart) error {
		if len(out.Parts) == standby.MaxHeld {
			return store.ErrStop
		}
		if d, apart := snapshot.FileOf(&store.Part{Table: byte(p.Table), Kind: 's', Value: p.Data}); apart {
			file, _, err := in.set.env.Store.OpenState(in.s.id, d)
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
		out.Parts = append(out.Parts, p.Held())
		return nil
	})
	if err != nil {
		return err
	}
	return standby.SendNow(in.conn, out)
}
