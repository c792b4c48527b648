// Package stateless is for daemons that keep nothing from one event to the
// next: it exports the marker that says so.
package stateless

import "wasmhost.example/guest-sdk/go"

// Register makes d the module's daemon.
func Register(d sdk.Daemon) { sdk.Register(d) }
