// Package hooks is for daemons that keep state: it exports the two functions
// by which the state travels.
package hooks

import sdk "wasmhost.example/guest-sdk/go"

// Daemon is a daemon whose state travels.
type Daemon interface {
	sdk.Daemon

	// Snapshot returns the state, for Restore to begin from.
	Snapshot() ([]byte, error)

	// Restore takes what Snapshot returned, into a fresh daemon.
	Restore(state []byte) error
}

var daemon Daemon

// Register makes d the module's daemon.
func Register(d Daemon) {
	daemon = d
	sdk.Register(d)
}
