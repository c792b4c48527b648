package server

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

func (s *Server) getCopies(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.rt.Cluster(); err != nil {
		return err
	}
	list, err := page(w, r, s.rt.Copies(), func(c host.Copy) string { return c.Entity.String() })
	if err != nil {
		return err
	}
	out := make([]api.Copy, len(list))
	for i, c := range list {
		out[i] = copyOf(c, s.rt.CopyIndex(c.Entity))
	}
	return writeJSON(w, out)
}

func copyOf(c host.Copy, index uint64) api.Copy {
	role := "standby"
	if c.Owned {
		role = "owner"
	}
	return api.Copy{Entity: c.Entity.String(), Name: c.Name, Role: role, Epoch: c.Epoch, Index: index, InSync: c.InSync, Whole: c.Whole, State: c.State}
}

// hostCopy returns the copy as package host has it.
func hostCopy(c *api.Copy) (out host.Copy, err error) {
	out = host.Copy{Name: c.Name, Owned: c.Role == "owner", Epoch: c.Epoch, Index: c.Index, InSync: c.InSync, Whole: c.Whole, State: c.State}
	out.Entity, err = identity.ParseEntityID(c.Entity)
	return out, err
}

func (s *Server) getKnown(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.rt.Cluster(); err != nil {
		return err
	}
	list := s.rt.Remembered()
	slices.SortFunc(list, func(a, b directory.Daemon) int { return bytes.Compare(a.Entity[:], b.Entity[:]) })
	list, err := page(w, r, list, func(d directory.Daemon) string { return d.Entity.String() })
	if err != nil {
		return err
	}
	out := make([]api.KnownDaemon, len(list))
	for i, d := range list {
		out[i] = api.KnownDaemon{Entity: d.Entity.String(), Name: d.Name, Owner: d.Owner.String(), Epoch: d.Epoch, Want: d.Want, Ack: d.Ack.String(), InSync: []string{}}
		for _, n := range d.Standbys {
			out[i].InSync = append(out[i].InSync, n.String())
		}
	}
	return writeJSON(w, out)
}

// directoryDaemon returns what was known as package directory has it.
func directoryDaemon(k *api.KnownDaemon) (d directory.Daemon, err error) {
	d = directory.Daemon{Name: k.Name, Epoch: k.Epoch, Want: k.Want}
	if d.Entity, err = identity.ParseEntityID(k.Entity); err != nil {
		return d, err
	}
	if d.Owner, err = identity.ParseNodeID(k.Owner); err != nil {
		return d, err
	}
	if d.Ack, err = directory.ParseAck(k.Ack); err != nil {
		return d, err
	}
	for _, text := range k.InSync {
		n, err := identity.ParseNodeID(text)
		if err != nil {
			return d, err
		}
		d.Standbys = append(d.Standbys, n)
	}
	slices.Sort(d.Standbys)
	b, err := d.MarshalBinary() // holds it to the bounds of the directory's records
	if err != nil {
		return d, err
	}
	return d, d.UnmarshalBinary(b)
}

// getCopyChain answers with the chain of what this node itself has of a daemon.
func (s *Server) getCopyChain(w http.ResponseWriter, r *http.Request) error {
	id, err := identity.ParseEntityID(r.PathValue("entity"))
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	started := newStartedWriter(w)
	err = s.rt.ExportCopy(r.Context(), id, started)
	if err != nil && started.began() {
		panic(http.ErrAbortHandler) // cut the stream: the client must not take it for whole
	}
	return err
}

// postPromotion makes this node's copy of a daemon the daemon.
func (s *Server) postPromotion(w http.ResponseWriter, r *http.Request) error {
	var p api.Promotion
	if err := readJSON(w, r, &p); err != nil {
		return err
	}
	id, err := identity.ParseEntityID(p.Entity)
	at := host.ChainEnd{Epoch: p.Epoch, Sequence: p.Sequence}
	if err == nil {
		err = at.Head.UnmarshalText([]byte(p.Head))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	if err := s.rt.Promote(r.Context(), id, at, p.To); err != nil {
		return err
	}
	return writeJSON(w, p)
}
