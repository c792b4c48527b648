package migration

import "fmt"

// Machine is where one side stands in one migration. Signal alone moves it. It is a
// value that its owner guards: it is not safe for concurrent use. The zero Machine takes
// no signal.
type Machine struct {
	side Role
	at   Phase
}

// NewSource returns the machine of a source that begins.
func NewSource() Machine { return Machine{Source, Snapshot} }

// NewTarget returns the machine of a target that takes an offer.
func NewTarget() Machine { return Machine{Target, Transfer} }

// NewOrchestrator returns what an orchestrator knows of a migration that it ordered.
func NewOrchestrator() Machine { return Machine{Orchestrator, Snapshot} }

// ResumeSource returns the machine of a source that finds its release on disk when it
// starts. asks says that another, a cluster's directory, knows whether it was taken.
func ResumeSource(asks bool) Machine {
	if asks {
		return Machine{Source, InDoubt}
	}
	return Machine{Source, Cutover}
}

// ResumeTarget returns the machine of a target that finds a daemon on disk for which it
// waits for the source's word.
func ResumeTarget() Machine { return Machine{Target, Pending} }

// Phase returns where the side stands.
func (m *Machine) Phase() Phase { return m.at }

// Signal moves the side to the phase that its table has for the signal, raised by by. A
// *WrongPhaseError says that it has none; nothing changed then.
func (m *Machine) Signal(s Signal, by Role) error {
	next, err := Next(m.side, m.at, s, by)
	m.at = next
	return err
}

// Hear takes what an orchestrator is told of the phase: the source walks the table, and
// says what it shows.
func (m *Machine) Hear(p Phase) error {
	if m.side != Orchestrator || p < Snapshot || p > Aborted {
		return fmt.Errorf("the %s of a migration is told of phase %s", m.side, p)
	}
	m.at = p
	return nil
}

// Next returns the phase that follows at side from phase from when by raises signal, or
// a *WrongPhaseError, with from unchanged, when the side's table has no such row.
func Next(side Role, from Phase, signal Signal, by Role) (Phase, error) {
	var table map[row]Phase
	switch side {
	case Source:
		table = sourceTable
	case Target:
		table = targetTable
	}

	to, ok := table[row{from, signal, by}]
	if !ok {
		return from, &WrongPhaseError{Side: side, Phase: from, Signal: signal, By: by}
	}
	return to, nil
}

// WrongPhaseError reports a signal that the phase has no row for. Nothing
// changed.
type WrongPhaseError struct {
	Side   Role // whose table it is
	Phase  Phase
	Signal Signal
	By     Role
}

// Error implements error.
func (e *WrongPhaseError) Error() string {
	return fmt.Sprintf("the %s of a migration, in phase %s, does not take signal %s from the %s", e.Side, e.Phase, e.Signal, e.By)
}
