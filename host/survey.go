package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Copy is what a node says that it has of a daemon of its cluster. What it proves is in
// Copies.Export.
type Copy struct {
	Entity identity.EntityID
	Name   string
	Owned  bool            // the daemon is here; otherwise this node stood by for it
	Owner  identity.NodeID // the node itself, or the one that fed the copy last
	Epoch  uint64          // of that owner
	Index  uint64          // how many records its history has; see CopyIndex
	InSync bool            // the directory called it the owner, or a standby in sync, when it was heard last
	Whole  bool            // it has had all that its owner had
	State  string          // of a daemon that is here, as Info.State; otherwise standby
}

// List returns what this node has of its cluster's daemons, by entity, without Index.
func (r Copies) List() []Copy {
	c := r.rt.cluster
	if c == nil || r.rt.env.Store == nil {
		return nil
	}
	var out []Copy
	for _, d := range c.Daemons() {
		i := d.Info()
		was, known := c.Recall(d.Entity())
		out = append(out, Copy{Entity: d.Entity(), Name: i.Name, Owned: true, Owner: r.rt.env.Self, Epoch: i.Epoch, InSync: known && was.Owner == r.rt.env.Self, Whole: true, State: i.State})
	}
	for _, s := range c.Copies().All() {
		id, at := s.Entity(), s.State()
		v := Copy{Entity: id, Owner: at.Owner, Epoch: at.Epoch, Whole: at.Whole, State: "standby"}
		if rec, err := stored.DecodeRecord(at.Record); err == nil {
			v.Name = rec.Name
		}
		was, known := c.Recall(id)
		v.InSync = known && was.InSync(r.rt.env.Self)
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Copy) int { return bytes.Compare(a.Entity[:], b.Entity[:]) })
	return out
}

// Index returns how many records the history of a daemon has here; 0 if that cannot be
// read.
func (r Copies) Index(id identity.EntityID) uint64 {
	if r.rt.env.Store == nil {
		return 0
	}
	end, err := r.rt.env.Store.HistoryEnd(id)
	if err != nil {
		r.rt.env.Logger.Error("reading how far a daemon's copy goes", "daemon", id.Origin(), "error", err)
	}
	return end
}

// Export writes the chain of what this node has of a daemon, sealed by the daemon's
// key where its stored history ends. It waits for no lease. *NotFoundError if the node has none.
func (r Copies) Export(ctx context.Context, id identity.EntityID, w io.Writer) error {
	if err := r.rt.ready(); err != nil {
		return err
	}
	if r.rt.cluster == nil || r.rt.env.Store == nil {
		return &daemon.NotFoundError{Entity: id}
	}
	d := r.rt.table.Daemon(id)
	s := r.rt.cluster.Copies().Find(id)
	var end uint64
	var seal *chain.Checkpoint
	var err error
	switch {
	case d != nil: // it may be held: what is stored is looked at
		if err = d.Peek(ctx); err == nil {
			end, seal, err = r.rt.storedSeal(ctx, id)
			d.Unlock()
		}
	case s != nil:
		end, seal, err = r.rt.cluster.SealCopy(ctx, s)
	default:
		return &daemon.NotFoundError{Entity: id}
	}
	if err != nil {
		return fmt.Errorf("exporting the copy of daemon %s: %w", id.Origin(), err)
	}
	return r.rt.writeChain(id, end, seal, w)
}

// writeChain writes the first records of a daemon's history as a chain file.
func (r *Runtime) writeChain(id identity.EntityID, end uint64, seal *chain.Checkpoint, w io.Writer) error {
	out := &chainExport{Writer: chain.NewWriter(w), id: id}
	if err := r.env.Store.ReadHistory(id, 0, end, func(_ uint64, b []byte) error { return out.record(b) }); err != nil {
		return fmt.Errorf("exporting the chain of daemon %s: %w", id.Origin(), err)
	}
	if !out.begun {
		return fmt.Errorf("%w: daemon %s has no history", store.ErrCorrupt, id.Origin())
	}
	return out.Seal(seal)
}

// Candidate is a node's copy of a daemon, and how far it goes as its chain proves.
type Candidate struct {
	Node identity.NodeID
	Copy
	End chain.End
	Err error // why the chain proves nothing; nil: ChainEnd is proven
}

// Complete reports whether the copy has all that the daemon acknowledged, as far as its
// node knows.
func (c *Candidate) Complete() bool { return c.Owned || c.InSync && c.Whole }

// Longest returns the index of the copy that goes furthest, -1 if none proves anything.
// Of copies that go equally far, one that is complete counts first, then one with more
// records, then the owner's.
func Longest(candidates []Candidate) int {
	best := -1
	for i := range candidates {
		if candidates[i].Err == nil && (best < 0 || longer(&candidates[i], &candidates[best])) {
			best = i
		}
	}
	return best
}

func longer(a, b *Candidate) bool {
	order := cmp.Or(a.End.Compare(b.End), truth(a.Complete())-truth(b.Complete()),
		cmp.Compare(a.Index, b.Index), truth(a.Owned)-truth(b.Owned), cmp.Compare(b.Node, a.Node))
	return order > 0
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
