package cluster

import (
	"cmp"
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

// What a node is to the copies that it keeps of other nodes' daemons.

// HandleStandby is mesh.Handler.HandleStandby. A node of no cluster refuses.
func (c *Member) HandleStandby(ctx context.Context, from identity.NodeID, conn standby.Conn) {
	if !c.env.Work.Begin() {
		return
	}
	defer c.env.Work.Done()
	defer context.AfterFunc(c.env.Context, conn.Abort)()
	msg, err := conn.Recv()
	if err != nil {
		c.env.Logger.Debug("a standby's stream broke", "from", from, "error", err)
		return
	}
	if compare, ok := msg.(*standby.Compare); ok {
		c.answerCompare(ctx, from, conn, compare)
		return
	}
	follow, ok := msg.(*standby.Follow)
	if !ok {
		c.env.Logger.Warn("a stream to a standby begins otherwise", "from", from, "with", fmt.Sprintf("%T", msg))
		return
	}
	s, refuse := c.standFor(ctx, from, follow)
	if refuse == nil {
		err = c.copies.Receive(ctx, from, s, conn, follow)
		var no *standbys.Refusal
		if errors.As(err, &no) {
			refuse = no
		}
	}
	if refuse != nil {
		err = errors.Join(refuse, standby.SendNow(conn, &standby.Refuse{Epoch: refuse.Epoch, Text: refuse.Text}))
	}
	c.env.Logger.Debug("a standby's stream ended", "daemon", follow.Entity.Origin(), "from", from, "error", err)
}

// standFor finds the copy that is to be fed. Only the daemon's owner feeds it.
func (c *Member) standFor(ctx context.Context, from identity.NodeID, f *standby.Follow) (*standbys.Standby, *standbys.Refusal) {
	no := func(epoch uint64, format string, args ...any) *standbys.Refusal {
		return &standbys.Refusal{Epoch: epoch, Text: fmt.Sprintf(format, args...)}
	}
	switch {
	case !standby.Speaks(f.Version):
		return nil, no(0, "%s", standby.Refused(f.Version))
	case c.config.Node.Ready() != nil:
		return nil, no(0, "%v", c.config.Node.Ready())
	}
	if err := cmp.Or(c.config.Holds.MayServe(f.Entity), c.config.Evidence.Refuses(f.Entity)); err != nil {
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
	if c.config.Table.Daemon(f.Entity) != nil || c.config.Table.IsComing(f.Entity) {
		return nil, no(0, "the daemon is here, or on its way here")
	}
	return c.copies.FindOrAdd(f.Entity), nil
}

// standbysNode is the node as the copies on it see it.
type standbysNode struct{ member *Member }

// FindModule implements standbys.Node.
func (n standbysNode) FindModule(ctx context.Context, digest store.Digest) error {
	_, err := n.member.config.Modules.Compiled(ctx, digest)
	return err
}

// AddModule implements standbys.Node.
func (n standbysNode) AddModule(ctx context.Context, wasm []byte) error {
	_, err := n.member.config.Modules.Add(ctx, wasm, daemon.MaxMemoryBytes, false) // its owner let it have the memory
	return err
}

// RefusesModules implements standbys.Node.
func (n standbysNode) RefusesModules() bool { return n.member.config.Modules.TakesModules() == 0 }

// WantsEarlier implements standbys.Node.
func (n standbysNode) WantsEarlier(ctx context.Context, digest store.Digest) bool {
	return n.member.config.Modules.WantsEarlier(ctx, digest, 1)
}

// KeepEvidence implements standbys.Node.
func (n standbysNode) KeepEvidence(id identity.EntityID, epoch uint64, why string) error {
	return n.member.config.Node.KeepEvidence(id, epoch, why)
}

// CheckRecord implements standbys.Node.
func (n standbysNode) CheckRecord(b []byte) error {
	rec, err := stored.DecodeRecord(b)
	if err != nil {
		return err
	}
	return daemon.ValidName(rec.Name)
}
