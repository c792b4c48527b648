//go:build wasip1

// Package hooks is for daemons that keep state: it exports the two functions
// by which the state travels.
package hooks

import (
	"unsafe"

	"wasmhost/guest-sdk/go"
)

// Daemon is a daemon whose state travels.
type Daemon interface {
	sdk.Daemon

	// Snapshot returns the state, for Restore to begin from.
	Snapshot() ([]byte, error)

	// Restore takes what Snapshot returned, into a fresh daemon.
	Restore(state []byte) error
}

var (
	daemon Daemon
	output []byte // the last snapshot, kept in place for the host
)

// Register makes d the module's daemon.
func Register(d Daemon) {
	daemon = d
	sdk.Register(d)
}

//go:wasmexport wasmhost_snapshot
func exportSnapshot() uint64 {
	code := sdk.Answer(func() (err error) {
		output, err = daemon.Snapshot()
		return err
	})
	if code != 0 {
		return ^uint64(0)
	}
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | uint64(len(output))
}

//go:wasmexport wasmhost_restore
func exportRestore(_ unsafe.Pointer, n uint32) int32 {
	return sdk.Answer(func() error { return daemon.Restore(sdk.Input(n)) })
}
