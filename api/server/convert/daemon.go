// Package convert makes the types of package api of those of the host, and some the other
// way. Its functions keep nothing, and may be called from anywhere; what they are given is
// not changed, and slices of bytes are shared.
package convert

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
)

func lossOf(l *daemon.Loss) *api.Loss {
	if l == nil {
		return nil
	}
	return &api.Loss{From: l.From, To: l.To, Epoch: l.Epoch, Why: l.Why, Time: l.Time.UTC()}
}

// DaemonOf returns a daemon as lists show it.
func DaemonOf(i daemon.Info) api.Daemon {
	return api.Daemon{Name: i.Name, Origin: i.Entity.Origin().String(), EntityID: i.Entity.String(), Kind: i.Kind, NodeID: i.Node.String(),
		Epoch: i.Epoch, Sequence: i.Sequence, State: i.State, Reason: i.Reason, Loss: lossOf(i.Loss), Unstored: i.Unstored, EventsProcessed: i.EventsProcessed,
		EventsEmitted: i.EventsEmitted, Errors: i.Errors, Module: i.Module, MemoryBytes: i.MemoryBytes, Head: i.Head.String(), Spawned: i.Spawned, Limits: i.Limits.Map()}
}

// OutputOf makes an Output of host's.
func OutputOf(o chain.Output) api.Output {
	out := api.Output{Origin: o.Link.Origin.Origin().String(), Epoch: o.Link.Epoch, Sequence: o.Link.Sequence, Payload: base64.StdEncoding.EncodeToString(o.Payload)}
	if utf8.Valid(o.Payload) {
		text := string(o.Payload)
		out.Text = &text
	}
	return out
}

// RoundOf returns one round of a migration as the API reports it.
func RoundOf(r migration.Round) api.Round {
	return api.Round{Number: r.Number, How: r.How, Records: r.Records, Blocks: r.Blocks, Bytes: r.Bytes, MS: Milliseconds(r.Took), LeftMS: Milliseconds(r.Left), SlowedMS: Milliseconds(r.Slowed)}
}

// ReportOf returns how a migration went that is complete.
func ReportOf(r host.Report) *api.MigrationReport {
	out := &api.MigrationReport{Origin: r.Entity.Origin().String(), From: r.From.String(), To: r.To.String(), Epoch: r.Epoch, Bytes: r.Bytes,
		DowntimeMS: Milliseconds(r.Downtime), Phases: []api.PhaseTime{}, Rounds: []api.Round{}}
	for _, p := range r.Rounds {
		out.Rounds = append(out.Rounds, RoundOf(p))
	}
	if r.Receipt != nil {
		if sum, err := r.Receipt.Digest(); err == nil {
			out.Receipt = sum.String()
			out.ReceiptRaw, _ = r.Receipt.Encode() // what has a digest can be encoded
		}
	}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, api.PhaseTime{Phase: p.Phase.String(), MS: Milliseconds(p.Took)})
	}
	for _, u := range r.Unbound {
		out.Unbound = append(out.Unbound, api.Unbound{Publisher: u.Publisher.String(), Channel: u.Channel, Code: problem.Of(u.Err).Code, Reason: u.Err.Error()})
	}
	return out
}

// Milliseconds returns d in milliseconds, to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// SnapshotOf says what s is.
func SnapshotOf(s *snapshot.Snapshot) api.Snapshot {
	h := &s.Header
	return api.Snapshot{Name: h.Name, Origin: h.Entity.Origin().String(), EntityID: h.Entity.String(), Kind: h.Kind, Module: hex.EncodeToString(h.Module),
		Epoch: h.Epoch, Through: h.Through, Applied: h.Applied, Head: h.Head.Hash(h.HeadPayload).String(), State: len(s.State),
		Senders: snapshot.SendersOf(h.Horizon), Signed: s.Verify() == nil, Identity: len(h.Envelope) > 0, Created: s.Created(), Spawned: h.Spawned().UTC(), Previous: hex.EncodeToString(h.Previous())}
}

// SentOf returns what became of an event: its outputs, and whether it had been applied
// before.
func SentOf(res daemon.Result) api.Sent {
	out := api.Sent{Outputs: make([]api.Output, 0, len(res.Outputs)), Duplicate: res.Duplicate}
	for _, o := range res.Outputs {
		output := OutputOf(o)
		output.Duplicate = res.Duplicate
		out.Outputs = append(out.Outputs, output)
	}
	return out
}

// ForkOfRecord shows a fork record; nil for nil.
func ForkOfRecord(f *chain.ForkRecord) *api.ForkOf {
	if f == nil {
		return nil
	}
	return &api.ForkOf{Parent: f.Parent.Origin().String(), ParentID: f.Parent.String(), Epoch: f.Epoch, Sequence: f.Sequence, Head: f.Head.String(),
		Applied: f.Applied, State: fmt.Sprintf("%x", f.State)}
}

// HeldOf returns a daemon that does not run, with the reason.
func HeldOf(h *daemon.HeldDaemon) api.Held {
	out := api.Held{Name: h.Name, Origin: h.Entity.Origin().String(), EntityID: h.Entity.String(), Code: h.Reason.String(), Why: h.Why, Since: h.Since.UTC(), Epoch: h.Epoch, Index: h.Index}
	if h.Node != 0 {
		out.NodeID = h.Node.String()
	}
	return out
}

// LimitsOf returns a daemon's effective limits, its own ones, and what it uses of them.
func LimitsOf(i daemon.Info, used []api.Used) api.DaemonLimits {
	return api.DaemonLimits{Name: i.Name, Origin: i.Entity.Origin().String(), EntityID: i.Entity.String(), Kind: i.Kind, NodeID: i.Node.String(),
		Limits: i.Limits.Map(), Own: i.OwnLimits.Map(), Used: used}
}

// eventKinds are the names of what events are to their daemon.
var eventKinds = map[daemon.EventKind]string{daemon.EventDirect: "direct", daemon.EventChannel: "channel", daemon.EventGap: "gap",
	daemon.EventTimer: "timer", daemon.EventDaemon: "daemon", daemon.EventAsk: "ask"}

// eventKind returns the name of what an event is to its daemon.
func eventKind(k daemon.EventKind) string {
	if _, reply := k.Reply(); reply {
		return "reply"
	}
	return eventKinds[k]
}

// QuarantinedOf returns a failed event. Text is set where the payload is UTF-8.
func QuarantinedOf(q daemon.Quarantined) api.Quarantined {
	out := api.Quarantined{Index: q.Index, Kind: eventKind(q.Kind), Sender: q.Sender.String(), Number: q.Number, Time: q.Time, Channel: q.Channel, Payload: q.Payload, Error: q.Fault.Error()}
	if !q.From.IsZero() {
		out.From = q.From.String()
	}
	if utf8.Valid(q.Payload) {
		out.Text = string(q.Payload)
	}
	return out
}
