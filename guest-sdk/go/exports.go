//go:build wasip1

package sdk

import "unsafe"

//go:wasmexport wasmhost_abi_v1
func exportABI() {}

//go:wasmexport wasmhost_alloc
func exportAlloc(n uint32) unsafe.Pointer {
	if uint32(len(input)) < n {
		input = make([]byte, max(n, 2*uint32(len(input))))
	}
	return unsafe.Pointer(&input[0])
}

//go:wasmexport wasmhost_init
func exportInit(_ unsafe.Pointer, n uint32) int32 {
	return Answer(func() error {
		if i, ok := daemon.(Initer); ok {
			return i.Init(Input(n))
		}
		if n > 0 {
			return &Failure{Code: 2, Text: "the daemon takes no configuration"}
		}
		return nil
	})
}

//go:wasmexport wasmhost_process
func exportProcess(_ unsafe.Pointer, n uint32) int32 {
	return Answer(func() error { return daemon.Process(Event{Input(n)}) })
}
