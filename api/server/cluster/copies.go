package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// GetCopies answers with the copies that this node keeps as a standby, page by page.
func (cl *Cluster) GetCopies(w http.ResponseWriter, r *http.Request) error {
	if _, err := cl.rt.Cluster(); err != nil {
		return err
	}
	list, err := web.Page(w, r, cl.copies.List(), func(c host.Copy) string { return c.Entity.String() })
	if err != nil {
		return err
	}
	out := make([]api.Copy, len(list))
	for i, c := range list {
		out[i] = convert.CopyOf(c, cl.copies.Index(c.Entity))
	}
	return web.WriteJSON(w, out)
}

// GetKnown answers with what this node remembers of the directory: daemons and their
// owners, page by page.
func (cl *Cluster) GetKnown(w http.ResponseWriter, r *http.Request) error {
	if _, err := cl.rt.Cluster(); err != nil {
		return err
	}
	list := cl.remembered()
	slices.SortFunc(list, func(a, b directory.Daemon) int { return bytes.Compare(a.Entity[:], b.Entity[:]) })
	list, err := web.Page(w, r, list, func(d directory.Daemon) string { return d.Entity.String() })
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
	return web.WriteJSON(w, out)
}

// GetCopyChain answers with the chain of what this node itself has of a daemon.
func (cl *Cluster) GetCopyChain(w http.ResponseWriter, r *http.Request) error {
	id, err := identity.ParseEntityID(r.PathValue("entity"))
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	started := web.NewStartedWriter(w)
	err = cl.copies.Export(r.Context(), id, started)
	if err != nil && started.Began() {
		panic(http.ErrAbortHandler) // cut the stream: the client must not take it for whole
	}
	return err
}

// PostPromotion makes this node's copy of a daemon the daemon.
func (cl *Cluster) PostPromotion(w http.ResponseWriter, r *http.Request) error {
	var p api.Promotion
	if err := web.ReadJSON(w, r, &p); err != nil {
		return err
	}
	id, err := identity.ParseEntityID(p.Entity)
	at := chain.End{Epoch: p.Epoch, Sequence: p.Sequence}
	if err == nil {
		err = at.Head.UnmarshalText([]byte(p.Head))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	if err := cl.copies.Promote(r.Context(), id, at, p.To); err != nil {
		return err
	}
	return web.WriteJSON(w, p)
}
