// Package migration holds what a live migration is, apart from any I/O: its
// phases and the transitions between them, the reasons for which it can fail,
// and the messages that its two ends exchange.
package migration

import "fmt"

// Phase is where a migration stands.
type Phase uint8

// The phases, in the order in which a migration that succeeds walks them.
const (
	Snapshot Phase = iota + 1 // the source captures the daemon and goes on serving
	Transfer                  // module, history and snapshot stream to the target
	Restore                   // the target rebuilds the daemon and checks it
	Replay                    // the source pauses the daemon; the target applies the rest and the heads must agree
	Cutover                   // Released is durable: the daemon belongs to the target
	Complete                  // the target serves; the source keeps a tombstone
	Aborted                   // the source serves as if nothing had happened
)

// Signal is what moves a migration from one phase to the next.
type Signal uint8

// The signals.
const (
	Captured  Signal = iota + 1 // the snapshot is taken
	Received                    // the target has module, history and snapshot
	Restored                    // the target's daemon stands at the snapshot
	Released                    // the source has written the release durably
	Activated                   // the target answers for the daemon
	Failed                      // one side gave up
)

// Role is the side that raises a signal.
type Role uint8

// The two sides of a migration. The orchestrator raises no signal: it asks the
// source.
const (
	Source Role = iota + 1
	Target
)

// Owner says which side answers for the daemon.
type Owner uint8

// The answers to "who runs the daemon in this phase?".
const (
	OwnerSource Owner = iota + 1
	OwnerTarget
)

type row struct {
	from   Phase
	signal Signal
	by     Role
}

// transitions is the whole machine. A signal with no row is refused. Two rows
// are absent on purpose: a target in Replay may not give up on its own, for it
// may already own the daemon, and nothing but Activated leaves Cutover.
var transitions = map[row]Phase{
	{Snapshot, Captured, Source}: Transfer,
	{Transfer, Received, Target}: Restore,
	{Restore, Restored, Target}:  Replay,
	{Replay, Released, Source}:   Cutover,
	{Cutover, Activated, Target}: Complete,

	{Snapshot, Failed, Source}: Aborted,
	{Snapshot, Failed, Target}: Aborted,
	{Transfer, Failed, Source}: Aborted,
	{Transfer, Failed, Target}: Aborted,
	{Restore, Failed, Source}:  Aborted,
	{Restore, Failed, Target}:  Aborted,
	{Replay, Failed, Source}:   Aborted,
}

// Next returns the phase that follows from when by raises signal, or a
// *WrongPhaseError, with from unchanged, when the table has no such row.
func Next(from Phase, signal Signal, by Role) (Phase, error) {
	to, ok := transitions[row{from, signal, by}]
	if !ok {
		return from, &WrongPhaseError{Phase: from, Signal: signal, By: by}
	}
	return to, nil
}

// Owner says who answers for the daemon in phase p.
func (p Phase) Owner() Owner {
	if p == Cutover || p == Complete {
		return OwnerTarget
	}
	return OwnerSource
}

// Terminal reports whether nothing can follow p.
func (p Phase) Terminal() bool { return p == Complete || p == Aborted }

var phaseNames = [...]string{Snapshot: "snapshot", Transfer: "transfer", Restore: "restore",
	Replay: "replay", Cutover: "cutover", Complete: "complete", Aborted: "aborted"}

// String returns the phase's stable name.
func (p Phase) String() string { return name(phaseNames[:], int(p), "phase") }

var signalNames = [...]string{Captured: "captured", Received: "received", Restored: "restored",
	Released: "released", Activated: "activated", Failed: "failed"}

// String returns the signal's stable name.
func (s Signal) String() string { return name(signalNames[:], int(s), "signal") }

// String returns the role's stable name.
func (r Role) String() string {
	return name([]string{Source: "source", Target: "target"}, int(r), "role")
}

func name(names []string, i int, what string) string {
	if i > 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s(%d)", what, i)
}

// WrongPhaseError reports a signal that the phase has no row for. Nothing
// changed.
type WrongPhaseError struct {
	Phase  Phase
	Signal Signal
	By     Role
}

func (e *WrongPhaseError) Error() string {
	return fmt.Sprintf("a migration in phase %s does not take signal %s from the %s", e.Phase, e.Signal, e.By)
}
