package host

import (
	"context"

	"fmt"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// handler answers what peers start: it is what the mesh gets of a runtime.
type handler struct{ rt *Runtime }

var _ mesh.Handler = handler{}

// HandleMigration implements mesh.Handler.
func (h handler) HandleMigration(ctx context.Context, from identity.NodeID, c migration.Conn) {
	h.rt.handleMigration(ctx, from, c)
}

// HandleChannel implements mesh.Handler.
func (h handler) HandleChannel(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, c channel.Conn) {
	h.rt.handleChannel(ctx, from, may, c)
}

// HandleStandby implements mesh.Handler.
func (h handler) HandleStandby(ctx context.Context, from identity.NodeID, c standby.Conn) {
	if h.rt.cluster != nil {
		h.rt.cluster.HandleStandby(ctx, from, c)
		return
	}

	if !h.rt.env.Work.Begin() {
		return
	}
	defer h.rt.env.Work.Done()
	defer context.AfterFunc(h.rt.env.Context, c.Abort)() // a peer may say nothing

	_, err := c.Recv()
	if err == nil {
		err = standby.SendNow(c, &standby.Refuse{Text: fmt.Sprintf("node %s is no member of a cluster", h.rt.env.Self)})
	}
	h.rt.env.Logger.Debug("refused a standby's stream: this node is in no cluster", "from", from, "error", err)
}
