package control

import (
	"wasmhost/host"
	"wasmhost/host/budget"
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

// budgets returns what is taken of the node's bounds on the bytes that it holds.
func (s *Server) budgets() []NodeBudget {
	var out []NodeBudget
	for _, u := range append([]budget.Use{s.rt.Arrivals().Bytes}, s.rt.Budgets().Uses()...) {
		out = append(out, NodeBudget{Name: u.Name, Used: u.Used, Peak: u.Peak, Most: u.Limit, Waiting: u.Waiting, Refused: u.Refused})
	}
	return out
}
