package daemon

import (
	"time"

	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// Notification is something that happened on this node. Fields that do not concern
// it are zero.
type Notification struct {
	At     time.Time // by the runtime's clock
	Topic  Topic
	Entity identity.EntityID
	Name   string // the daemon's
	Kind   string
	Epoch  uint64
	Reason string

	Peer     identity.NodeID // of a migration: the other side
	Source   bool            // this node is the migration's source
	Phase    migration.Phase
	Round    *migration.Round // that has ended
	Bytes    int64            // sent so far
	Downtime time.Duration
}

// Topic is a sort of Notification.
type Topic string

// The topics.
const (
	Spawned        Topic = "spawned"
	Removed        Topic = "removed"
	Stopped        Topic = "stopped" // until it is started
	Started        Topic = "started"
	CannotGoOn     Topic = "failed" // a daemon is failed or diverged: Reason
	WasMended      Topic = "mended"
	WasHeld        Topic = "held" // Reason; Peer has more, where that is known
	WasUpgraded    Topic = "upgraded"
	MigrationPhase Topic = "migration-phase"
	MigrationRound Topic = "migration-round"
	MigrationEnded Topic = "migration-ended" // moved, or Reason
	Came           Topic = "came"            // from Peer
	KindPushed     Topic = "kind-pushed"
	KindRemoved    Topic = "kind-removed"
	DrainingBegan  Topic = "draining"
	DrainingEnded  Topic = "undrained"
)
