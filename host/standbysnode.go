package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// What a runtime is to the copies that it keeps of other nodes' daemons.

// handleStandby is mesh.Handler.HandleStandby.
func (r *Runtime) handleStandby(ctx context.Context, from identity.NodeID, conn standby.Conn) {
	if !r.env.Work.Begin() {
		return
	}
	defer r.env.Work.Done()
	defer context.AfterFunc(r.env.Context, conn.Abort)()
	msg, err := conn.Recv()
	if err != nil {
		r.env.Logger.Debug("a standby's stream broke", "from", from, "error", err)
		return
	}
	if compare, ok := msg.(*standby.Compare); ok {
		r.answerCompare(ctx, from, conn, compare)
		return
	}
	follow, ok := msg.(*standby.Follow)
	if !ok {
		r.env.Logger.Warn("a stream to a standby begins otherwise", "from", from, "with", fmt.Sprintf("%T", msg))
		return
	}
	s, refuse := r.standFor(ctx, from, follow)
	if refuse == nil {
		err = r.cluster.copies.Receive(ctx, from, s, conn, follow)
		var no *standbys.Refusal
		if errors.As(err, &no) {
			refuse = no
		}
	}
	if refuse != nil {
		err = errors.Join(refuse, standby.SendNow(conn, &standby.Refuse{Epoch: refuse.Epoch, Text: refuse.Text}))
	}
	r.env.Logger.Debug("a standby's stream ended", "daemon", follow.Entity.Origin(), "from", from, "error", err)
}

// standFor finds the copy that is to be fed. Only the daemon's owner feeds it.
func (r *Runtime) standFor(ctx context.Context, from identity.NodeID, f *standby.Follow) (*standbys.Standby, *standbys.Refusal) {
	no := func(epoch uint64, format string, args ...any) *standbys.Refusal {
		return &standbys.Refusal{Epoch: epoch, Text: fmt.Sprintf(format, args...)}
	}
	c := r.cluster
	switch {
	case c == nil || r.env.Store == nil:
		return nil, no(0, "node %s is no member of a cluster", r.env.Self)
	case !standby.Speaks(f.Version):
		return nil, no(0, "%s", standby.Refused(f.Version))
	case r.ready() != nil:
		return nil, no(0, "%v", r.ready())
	}
	if err := r.mayRun(f.Entity); err != nil {
		return nil, no(0, "%v", err)
	}
	e, ok := c.directory.Look(f.Entity)
	if !ok || e.Epoch < f.Epoch {
		var err error
		if e, err = c.directory.Read(ctx, f.Entity); err != nil {
			return nil, no(0, "%v", err)
		}
	}
	if e.Owner != from || e.Epoch != f.Epoch {
		return nil, no(e.Epoch, "node %s owns the daemon, epoch %d", e.Owner, e.Epoch)
	}
	if p := r.table.Look(f.Entity); p.Here != nil || p.Coming != nil {
		return nil, no(0, "the daemon is here, or on its way here")
	}
	return c.copies.FindOrAdd(f.Entity), nil
}

// standbysNode is the runtime as the copies on it see it.
type standbysNode struct{ rt *Runtime }

// FindModule implements standbys.Node.
func (n standbysNode) FindModule(ctx context.Context, digest store.Digest) error {
	_, err := n.rt.registry.Compiled(ctx, digest)
	return err
}

// AddModule implements standbys.Node.
func (n standbysNode) AddModule(ctx context.Context, wasm []byte) error {
	_, err := n.rt.registry.Add(ctx, wasm, daemon.MaxMemoryBytes, false) // its owner let it have the memory
	return err
}

// RefusesModules implements standbys.Node.
func (n standbysNode) RefusesModules() bool { return n.rt.registry.TakesModules() == 0 }

// WantsEarlier implements standbys.Node.
func (n standbysNode) WantsEarlier(ctx context.Context, digest store.Digest) bool {
	return n.rt.registry.WantsEarlier(ctx, digest, 1)
}

// KeepEvidence implements standbys.Node.
func (n standbysNode) KeepEvidence(id identity.EntityID, epoch uint64, why string) error {
	return n.rt.keepEvidence(id, epoch, why)
}

// CheckRecord implements standbys.Node.
func (n standbysNode) CheckRecord(b []byte) error {
	rec, err := stored.DecodeRecord(b)
	if err != nil {
		return err
	}
	return daemon.ValidName(rec.Name)
}
