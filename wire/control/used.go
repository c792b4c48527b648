package control

import (
	"wasmhost/host"
	"wasmhost/host/effect"
)

// Used is how much of one of a daemon's bounds is taken now.
type Used struct {
	Limit string `json:"limit"` // its name, as abi/SPEC.md has it
	Used  int64  `json:"used"`  // events, bytes, callers or timers
	Most  int64  `json:"most"`
}

// usedOf returns what is taken of the bounds on what a daemon holds.
func usedOf(i host.Info, e host.Effects) []Used {
	events, bytes := 0, int64(0)
	for _, p := range e.Pending {
		events, bytes = events+p.Events, bytes+p.Bytes
	}
	return []Used{
		{"memory", i.MemoryBytes, i.Limits.MemoryBytes},
		{"mailbox", i.Waiting.Events, int64(i.Limits.Mailbox)},
		{"mailbox-bytes", i.Waiting.Bytes, host.MailboxBytes},
		{"readers", i.Waiting.Readers, host.MaxReaders},
		{"timers", int64(len(e.Timers)), effect.MaxTimers},
		{"pending-effects", int64(events), effect.MaxPending},
		{"pending-bytes", bytes, effect.MaxPendingBytes},
	}
}
