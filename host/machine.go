package host

import "wasmhost.example/host/internal/sandbox"

// Machine is what the machine gives to the memories of daemons.
type Machine struct {
	Heap   error // why memories are on Go's heap; nil: they are copy-on-write views of images
	Notes  bool  // writes are noted, so that large memories need not be looked through
	Mapped int   // how many daemons can have their memory mapped at a time; the others are packed
}

// LookAtMachine tries what memories of daemons need.
func LookAtMachine() Machine {
	notes, mapped, err := sandbox.Probe()
	return Machine{Heap: err, Notes: notes, Mapped: mapped}
}
