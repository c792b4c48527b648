//go:build wasip1

package hooks

import (
	"unsafe"

	sdk "wasmhost.example/guest-sdk/go"
)

var output []byte // the last snapshot, kept in place for the host

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
