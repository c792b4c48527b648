// Package migration holds what a live migration is, apart from any I/O: its
// phases and the transitions between them, the reasons for which it can fail,
// and the messages that its two ends exchange.
package migration

import "fmt"

// Phase is where a migration stands, as one of its sides knows it.
type Phase uint8

// The phases that users see, in the order in which a migration that succeeds walks
// them.
const (
	Snapshot Phase = iota + 1 // the source captures the daemon and goes on serving
	Transfer                  // module, history and snapshot stream to the target
	Restore                   // the target rebuilds the daemon and checks it
	Replay                    // the source pauses the daemon; the target applies the rest and the heads must agree
	Cutover                   // Released is durable: the daemon belongs to the target
	Complete                  // the target serves; the source keeps a tombstone
	Aborted                   // the source serves as if nothing had happened
)

// Phases within those. Each is one side's alone; users see the phase that Shown
// returns.
const (
	Releasing Phase = iota + Aborted + 1 // source, in Replay: the heads agree; the release is being written, and nobody has it yet
	InDoubt                              // source, in Replay: whether the release is durable is not known, so that neither side may serve
	Settling                             // source, in Cutover: the target has confirmed that it serves
	TakenBack                            // source, in Cutover: the operator has the daemon serve here; the target is gone for good
	Parked                               // target, in Transfer: the stream broke; what came waits for another
	Pending                              // target, in Replay: all that came is durable; the source alone can say whose the daemon is
	Claimed                              // target, in Complete: the operator has the daemon serve here; the source is gone for good
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

	Agreed    // both sides stand at one head; the source writes its release, the target has written what came
	Unsure    // the source does not know what became of the release that it wrote
	Confirmed // the target has said that it serves
	Cut       // the stream broke
	Resumed   // another stream goes on from what the target has
	Again     // the source begins another attempt
	Overruled // the operator has this side serve the daemon: the other is gone for good
)

// Role is the side that raises a signal.
type Role uint8

// The sides of a migration. An orchestrator that is not the source raises no signal: it
// asks the source, and hears its phases. An operator speaks where one side is gone for
// good.
const (
	Source Role = iota + 1
	Target
	Operator
	Orchestrator
)

// Owner says which side answers for the daemon.
type Owner uint8

// The answers to "who runs the daemon in this phase?".
const (
	OwnerSource Owner = iota + 1
	OwnerTarget
	OwnerNone // it is not known yet who will
)

// row is one signal in one phase.
type row struct {
	from   Phase
	signal Signal
	by     Role
}

// sourceTable is the source's whole machine. A signal with no row is refused. Rows are
// absent on purpose: a target in Replay may not give up on its own, for it may already
// own the daemon; nothing makes an attempt fail whose release may be durable.
var sourceTable = map[row]Phase{
	{Snapshot, Captured, Source}:   Transfer,
	{Transfer, Received, Target}:   Restore,
	{Restore, Restored, Target}:    Replay,
	{Replay, Agreed, Source}:       Releasing,
	{Releasing, Released, Source}:  Cutover,
	{Releasing, Unsure, Source}:    InDoubt,
	{InDoubt, Released, Source}:    Cutover,
	{Cutover, Confirmed, Target}:   Settling,
	{Cutover, Overruled, Operator}: TakenBack,
	{Settling, Activated, Target}:  Complete,

	{Snapshot, Again, Source}:  Snapshot,
	{Transfer, Again, Source}:  Snapshot,
	{Restore, Again, Source}:   Snapshot,
	{Replay, Again, Source}:    Snapshot,
	{Releasing, Again, Source}: Snapshot,

	{Snapshot, Failed, Source}:  Aborted,
	{Snapshot, Failed, Target}:  Aborted,
	{Transfer, Failed, Source}:  Aborted,
	{Transfer, Failed, Target}:  Aborted,
	{Restore, Failed, Source}:   Aborted,
	{Restore, Failed, Target}:   Aborted,
	{Replay, Failed, Source}:    Aborted,
	{Releasing, Failed, Source}: Aborted,
}

// targetTable is the target's whole machine. A signal with no row is refused. A row is
// absent on purpose: what is Pending the target may not drop on its own, for the source
// may have released it.
var targetTable = map[row]Phase{
	{Transfer, Received, Target}:   Restore,
	{Transfer, Cut, Target}:        Parked,
	{Parked, Resumed, Source}:      Transfer,
	{Restore, Restored, Target}:    Replay,
	{Replay, Agreed, Target}:       Pending,
	{Pending, Released, Source}:    Complete,
	{Pending, Overruled, Operator}: Claimed,

	{Transfer, Failed, Source}:  Aborted,
	{Transfer, Failed, Target}:  Aborted,
	{Parked, Failed, Source}:    Aborted,
	{Parked, Failed, Target}:    Aborted,
	{Restore, Failed, Source}:   Aborted,
	{Restore, Failed, Target}:   Aborted,
	{Replay, Failed, Source}:    Aborted,
	{Replay, Failed, Target}:    Aborted,
	{Pending, Failed, Source}:   Aborted,
	{Pending, Failed, Operator}: Aborted,
}

// Shown is the phase that users see.
func (p Phase) Shown() Phase {
	switch p {
	case Releasing, InDoubt, Pending:
		return Replay
	case Settling, TakenBack:
		return Cutover
	case Parked:
		return Transfer
	case Claimed:
		return Complete
	}
	return p
}

// Owner says who answers for the daemon in phase p.
func (p Phase) Owner() Owner {
	switch p {
	case Cutover, Settling, Complete, Claimed:
		return OwnerTarget
	case InDoubt, Pending:
		return OwnerNone
	}
	return OwnerSource
}

// Committed reports whether, at the source, the release is durable in phase p, or may
// be.
func (p Phase) Committed() bool {
	switch p {
	case InDoubt, Cutover, Settling, TakenBack, Complete:
		return true
	}
	return false
}

// Terminal reports whether nothing can follow p.
func (p Phase) Terminal() bool {
	return p == Complete || p == Aborted || p == TakenBack || p == Claimed
}

var phaseNames = [...]string{Snapshot: "snapshot", Transfer: "transfer", Restore: "restore",
	Replay: "replay", Cutover: "cutover", Complete: "complete", Aborted: "aborted",
	Releasing: "releasing", InDoubt: "in-doubt", Settling: "settling", TakenBack: "taken-back",
	Parked: "parked", Pending: "pending", Claimed: "claimed"}

// String returns the phase's stable name.
func (p Phase) String() string { return name(phaseNames[:], int(p), "phase") }

var signalNames = [...]string{Captured: "captured", Received: "received", Restored: "restored",
	Released: "released", Activated: "activated", Failed: "failed", Agreed: "agreed", Unsure: "unsure",
	Confirmed: "confirmed", Cut: "cut", Resumed: "resumed", Again: "again", Overruled: "overruled"}

// String returns the signal's stable name.
func (s Signal) String() string { return name(signalNames[:], int(s), "signal") }

// String returns the role's stable name.
func (r Role) String() string {
	return name([]string{Source: "source", Target: "target", Operator: "operator", Orchestrator: "orchestrator"}, int(r), "role")
}

func name(names []string, i int, what string) string {
	if i > 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s(%d)", what, i)
}
