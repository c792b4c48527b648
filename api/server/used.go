package server

import (
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
)

// usedOf returns what is taken of the bounds on what a daemon holds.
func usedOf(i daemon.Info, e daemon.Effects) []api.Used {
	events, bytes := 0, int64(0)
	for _, p := range e.Pending {
		events, bytes = events+p.Events, bytes+p.Bytes
	}
	list := []api.Used{
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
