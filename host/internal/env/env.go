// Package env is what every room of a runtime stands on: the node's store, log,
// clock, key and limits, the count of its background work, and whom to tell of what
// happens. It lies below the rooms, and
// nothing of it leads back to the runtime or to the table of its daemons.
package env

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Env is one runtime's environment. Its fields are set when the runtime is made and
// do not change afterwards, so that they are read without a lock.
type Env struct {
	Node   *identity.KeyPair // the node's key; the runtime's caller owns it
	Self   identity.NodeID   // of Node
	Store  *store.Store      // nil: nothing outlives the runtime and no history is kept; the caller closes it
	Logger *slog.Logger
	Clock  func() time.Time
	Tracer trace.Tracer // nil: none

	// Limits are those of a daemon that has none of its own.
	Limits daemon.Limits

	// Notify tells those who watch the node what happens here, and sets when that was. It
	// blocks nobody, and may be called under any lock.
	Notify func(daemon.Notification)

	// Context ends when shutdown stops migrations and background work.
	Context context.Context
	Work    *Work
}
