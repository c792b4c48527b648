package host

import (
	"context"
	"time"

	"wasmhost/host/migration"
	"wasmhost/identity"
)

// Happening is something that happened on this node. Fields that do not concern
// it are zero.
type Happening struct {
	At     time.Time // by the runtime's clock
	What   What
	Entity identity.EntityID
	Name   string // the daemon's
	Kind   string
	Epoch  uint64
	Reason string

	Peer     identity.NodeID // of a migration: the other side
	Source   bool            // this node is the migration's source
	Phase    migration.Phase
	Round    *Round // that has ended
	Bytes    int64  // sent so far
	Downtime time.Duration
}

// What is a sort of Happening.
type What string

// The sorts.
const (
	Spawned        What = "spawned"
	Removed        What = "removed"
	Stopped        What = "stopped" // until it is started
	Started        What = "started"
	CannotGoOn     What = "failed" // a daemon is failed or diverged: Reason
	WasMended      What = "mended"
	WasHeld        What = "held" // Reason; Peer has more, where that is known
	WasUpgraded    What = "upgraded"
	MigrationPhase What = "migration-phase"
	MigrationRound What = "migration-round"
	MigrationEnded What = "migration-ended" // moved, or Reason
	Came           What = "came"            // from Peer
	KindPushed     What = "kind-pushed"
	KindRemoved    What = "kind-removed"
	DrainingBegan  What = "draining"
	DrainingEnded  What = "undrained"
)

// happeningsBuffer is how far who watches a node may lag before it is cut.
const happeningsBuffer = 4096

// Happenings returns what happens on this node from now on. The channel is
// closed when ctx ends, when the runtime shuts down, or when its reader lags by
// more than 4096, or by more bytes than its budget has.
func (r *Runtime) Happenings(ctx context.Context) <-chan Happening {
	return r.happenings.stream(ctx, happeningsBuffer, r.following(), func(h *Happening) int64 { return int64(len(h.Name) + len(h.Kind) + len(h.Reason)) })
}

// tellOf publishes what happened. It blocks nobody, and may be called under any
// lock.
func (r *Runtime) tellOf(h Happening) {
	if r.happenings.idle() {
		return
	}
	h.At = r.env.Clock()
	r.happenings.publish(h)
}

// tellOf publishes what happened to the daemon.
func (d *hosted) tellOf(what What, reason string) {
	d.rt.tellOf(Happening{What: what, Entity: d.id, Name: d.name, Kind: d.kind, Epoch: d.epoch, Reason: reason})
}

// tellOf publishes where a migration from here stands. It needs m.mu.
func (m *Migration) tellOf(what What, round *Round, reason string) {
	if m.d == nil { // its source tells of it
		return
	}
	m.rt.tellOf(Happening{What: what, Entity: m.entity, Name: m.d.name, Kind: m.d.kind, Epoch: m.epoch, Reason: reason, Peer: m.target, Source: true,
		Phase: m.at.Phase().Shown(), Round: round, Bytes: m.bytes, Downtime: m.downtime})
}
