//go:build wasip1

package query

import (
	"unsafe"

	sdk "wasmhost.example/guest-sdk/go"
)

var output []byte // the last answer, kept in place for the host

//go:wasmexport wasmhost_query
func exportQuery(_ unsafe.Pointer, n uint32) uint64 {
	code := sdk.Answer(func() (err error) {
		output, err = daemon.Query(sdk.Input(n))
		return err
	})
	if code != 0 {
		return ^uint64(0)
	}
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | uint64(len(output))
}
