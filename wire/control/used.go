package control

import (
	"slices"

	"wasmhost/host"
	"wasmhost/host/budget"
	"wasmhost/host/daemon"
	"wasmhost/host/effect"
)

// Used is how much of one of a daemon's bounds is taken now.
type Used struct {
	Limit string `json:"limit"` // its name, as abi/SPEC.md has it
	Used  int64  `json:"used"`  // events, bytes, callers or timers
	Most  int64  `json:"most"`
	Near  bool   `json:"near,omitempty"` // it will soon be used up, for good: an event that would pass it fails
}

// usedOf returns what is taken of the bounds on what a daemon holds.
func usedOf(i daemon.Info, e daemon.Effects) []Used {
	events, bytes := 0, int64(0)
	for _, p := range e.Pending {
		events, bytes = events+p.Events, bytes+p.Bytes
	}
	list := []Used{
		{Limit: "memory", Used: i.MemoryBytes, Most: i.Limits.MemoryBytes},
		{Limit: "state-bytes", Used: i.StateBytes, Most: i.Limits.StateBytes},
		{Limit: "senders", Used: int64(i.Senders), Most: int64(i.Limits.Senders)},
		{Limit: "mailbox", Used: i.Waiting.Events, Most: int64(i.Limits.Mailbox)},
		{Limit: "mailbox-bytes", Used: i.Waiting.Bytes, Most: host.MailboxBytes},
		{Limit: "readers", Used: i.Waiting.Readers, Most: host.MaxReaders},
		{Limit: "timers", Used: int64(len(e.Timers)), Most: effect.MaxTimers},
		{Limit: "pending-effects", Used: int64(events), Most: effect.MaxPending},
		{Limit: "pending-bytes", Used: bytes, Most: effect.MaxPendingBytes},
	}
	near := i.Near.Names()
	for k := range list {
		list[k].Near = slices.Contains(near, list[k].Limit)
	}
	return list
}

// budgets returns what is taken of the node's bounds on the bytes that it holds.
func (s *Server) budgets() []NodeBudget {
	var out []NodeBudget
	for _, u := range append([]budget.Use{s.rt.Arrivals().Bytes}, s.rt.Budgets().Uses()...) {
		out = append(out, NodeBudget{Name: u.Name, Used: u.Used, Peak: u.Peak, Most: u.Limit, Waiting: u.Waiting, Refused: u.Refused})
	}
	return out
}
