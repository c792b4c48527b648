package host

import (
	"context"

	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/identity"
)

// A migration's words, for who has a Runtime.
type (
	// Migration is one daemon's move away from this node, or from another that this
	// node ordered to move it.
	Migration = source.Migration

	// MigrationOptions say how a daemon moves.
	MigrationOptions = source.Options

	// Report is how a migration went that is Complete.
	Report = source.Report

	// Progress is how far a migration is.
	Progress = source.Progress

	// PhaseChange is one step of a migration, PhaseTime how long it took.
	PhaseChange = source.PhaseChange
	PhaseTime   = source.PhaseTime
)

// The defaults and bounds of MigrationOptions.
const (
	DefaultDowntime      = source.DefaultDowntime
	DefaultRounds        = source.DefaultRounds
	DefaultRetryNotReady = source.DefaultRetryNotReady
	NoRetry              = source.NoRetry      // a RetryNotReady: a target that is not ready is asked once
	MaxRounds            = migration.MaxRounds // rounds of a migration before its pause
)

// ErrSettled says that there is no unsettled migration of the daemon here.
var ErrSettled = migration.ErrSettled

// StartMigration is StartMigrationWith zero options: the identity travels, and a target
// that is not ready is asked again for DefaultRetryNotReady.
func (r *Runtime) StartMigration(ctx context.Context, id identity.EntityID, target identity.NodeID) (*Migration, error) {
	return r.StartMigrationWith(ctx, id, target, MigrationOptions{})
}

// StartMigrationWith begins to move the daemon to the target and returns at
// once. The daemon serves until the target has all of it; its senders then wait
// for a moment, and find it there. An error is a *migration.Error, or says that
// the runtime is not ready; nothing has changed then.
func (r *Runtime) StartMigrationWith(ctx context.Context, id identity.EntityID, target identity.NodeID, o MigrationOptions) (*Migration, error) {
	return r.departures.Start(ctx, id, target, o)
}
