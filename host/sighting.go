package host

import (
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Sighting is what a node knows of a daemon by itself, asking nobody.
type Sighting struct {
	Here    *daemon.Info  // it is here
	Coming  bool          // it may be about to be here: another node has offered it, or it is kept here
	Went    *daemon.Moved // where it went from here
	Stopped uint64        // under which epoch it was stopped here; 0: it was not
}

// Sight returns what this node knows of the daemon. While the node does not know yet
// what it has, the error says so.
func (r Evidence) Sight(id identity.EntityID) (Sighting, error) {
	if err := r.rt.ready(); err != nil {
		return Sighting{}, err
	}
	w, err := r.rt.table.Find(id)
	if err != nil {
		return Sighting{}, err
	}
	d, in, t := w.Here, w.Coming, w.Went
	s := Sighting{Coming: in != nil || r.rt.cluster != nil && r.rt.cluster.Copies().Find(id) != nil}
	switch {
	case d != nil:
		i := d.Info()
		s.Here = &i
	case t.Stopped:
		s.Stopped = t.Epoch
	case t.Epoch > 0:
		m := movedBy(t, id)
		s.Went = &m
	}
	return s, nil
}
