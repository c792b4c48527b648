package convert

import (
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
)

// EffectsOf is nil where there is nothing to be shown.
func EffectsOf(e daemon.Effects) *api.Effects {
	waiting := len(e.Pending) + len(e.Timers) + len(e.Calls) + len(e.Owes) + len(e.Replies)
	if e.Grants.IsZero() && waiting == 0 && e.PassedOver == 0 && e.Lost == 0 && e.Late == 0 {
		return nil
	}

	out := &api.Effects{PassedOver: e.PassedOver, Lost: e.Lost, Late: e.Late, Replies: len(e.Replies)}
	grants := GrantsOf(e.Grants, false)
	out.MayPublish, out.MaySend = grants.MayPublish, grants.MaySend
	for _, p := range e.Pending {
		line := api.Pending{Channel: p.Place.Channel, Events: p.Events, Bytes: p.Bytes, Reason: p.Reason}
		if p.Place.Channel == "" {
			line.Daemon = p.Place.To.String()
		} else {
			line.Node = p.Place.Node.String()
		}
		out.Pending = append(out.Pending, line)
	}
	for _, t := range e.Timers {
		out.Timers = append(out.Timers, api.Timer{Number: t.ID, At: time.Unix(0, t.At).UTC(), Bytes: int64(len(t.Payload))})
	}
	for _, c := range e.Calls {
		call := api.Call{Number: c.Name.Number, Daemon: c.To.String()}
		if c.Deadline > 0 {
			at := time.Unix(0, c.Deadline).UTC()
			call.Deadline = &at
		}
		out.Calls = append(out.Calls, call)
	}
	for _, o := range e.Owes {
		out.Owes = append(out.Owes, api.Owed{Number: o.ID, Daemon: o.From.String()})
	}
	return out
}

// UsedOf returns what is taken of the bounds on what a daemon holds.
func UsedOf(i daemon.Info, e daemon.Effects) []api.Used {
	events, bytes := 0, int64(0)
	for _, p := range e.Pending {
		events, bytes = events+p.Events, bytes+p.Bytes
	}
	list := []api.Used{
		{Limit: "memory", Used: i.MemoryBytes, Most: i.Limits.MemoryBytes},
		{Limit: "state-bytes", Used: i.StateBytes, Most: i.Limits.StateBytes},
		{Limit: "senders", Used: int64(i.Senders), Most: int64(i.Limits.Senders)},
		{Limit: "mailbox", Used: i.Waiting.Events, Most: int64(i.Limits.Mailbox)},
		{Limit: "mailbox-bytes", Used: i.Waiting.Bytes, Most: daemon.MailboxBytes},
		{Limit: "readers", Used: i.Waiting.Readers, Most: daemon.MaxReaders},
		{Limit: "timers", Used: int64(len(e.Timers)), Most: effect.MaxTimers},
		{Limit: "pending-effects", Used: int64(events), Most: effect.MaxPending},
		{Limit: "pending-calls", Used: int64(len(e.Calls)), Most: effect.MaxCalls},
		{Limit: "pending-bytes", Used: bytes, Most: effect.MaxPendingBytes},
	}
	near := i.Near.Names()
	for k := range list {
		list[k].Near = slices.Contains(near, list[k].Limit)
	}
	return list
}

// GrantsOf says by ids what a daemon may do; tokens are for nodes alone.
func GrantsOf(g effect.Grants, tokens bool) (out api.Grants) {
	for _, p := range g.Publish {
		may := api.MayPublish{Node: p.Node.String(), Pattern: p.Pattern}
		if tokens {
			may.Token = p.Token
		}
		out.MayPublish = append(out.MayPublish, may)
	}
	if g.SendAny {
		out.MaySend = append(out.MaySend, "*")
	}
	for _, id := range g.Send {
		out.MaySend = append(out.MaySend, id.String())
	}
	return out
}
