// Package lifecycle holds where a daemon stands on one node, apart from any I/O: its
// states, what leads from one to the next, and whether a request may run there now.
package lifecycle

import "fmt"

// State is where a daemon stands on this node.
type State uint8

// The states, by the names that users see.
const (
	Migrating State = iota // holds its events: it is being made, or a migration from here ends
	Running                // takes events
	Passive                // takes events; its code and state are on disk alone until the next one
	Moved                  // takes none for ever: it went, was stopped, or the node ends
	Failed                 // takes none: it cannot go on
	Diverged               // as Failed: its replay differs from its history
)

var names = [...]string{Migrating: "migrating", Running: "running", Passive: "passive", Moved: "moved", Failed: "failed", Diverged: "diverged"}

// String returns the state's stable name.
func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state(%d)", s)
}

// Serves reports whether the daemon takes events.
func (s State) Serves() bool { return s == Running || s == Passive }

// InMemory reports whether the daemon's code and state are in memory.
func (s State) InMemory() bool { return s == Running || s == Migrating }

// Broken reports whether the daemon is here and cannot go on.
func (s State) Broken() bool { return s == Failed || s == Diverged }

// Over reports whether nothing follows s.
func (s State) Over() bool { return s == Moved || s.Broken() }

// Signal is what leads from one state to the next.
type Signal uint8

// The signals.
const (
	Resume  Signal = iota + 1 // what it held goes on
	Pause                     // it holds its events from now on
	Rest                      // its code and state are let go of; the disk has them
	Wake                      // its code and state are in memory again
	Leave                     // it is this node's no more
	Fail                      // it cannot go on
	Diverge                   // its replay differs from its history
)

var signalNames = [...]string{Resume: "resume", Pause: "pause", Rest: "rest", Wake: "wake", Leave: "leave", Fail: "fail", Diverge: "diverge"}

// String returns the signal's stable name.
func (s Signal) String() string {
	if s > 0 && int(s) < len(signalNames) {
		return signalNames[s]
	}
	return fmt.Sprintf("signal(%d)", s)
}

// row is one signal in one state.
type row struct {
	from   State
	signal Signal
}

// table is the whole machine. A signal with no row is refused.
var table = map[row]State{
	{Migrating, Resume}: Running,
	{Running, Pause}:    Migrating,
	{Passive, Pause}:    Migrating, // a start finds that it was released
	{Migrating, Rest}:   Passive,   // a start finds that it rests
	{Running, Rest}:     Passive,
	{Passive, Wake}:     Running,

	{Migrating, Leave}: Moved,
	{Running, Leave}:   Moved,
	{Passive, Leave}:   Moved,

	{Migrating, Fail}:    Failed,
	{Running, Fail}:      Failed,
	{Passive, Fail}:      Failed,
	{Migrating, Diverge}: Diverged,
	{Running, Diverge}:   Diverged,
	{Passive, Diverge}:   Diverged,
}

// Machine is where one daemon stands; the zero Machine is Migrating. Signal alone moves
// it. It is a value that its owner guards.
type Machine struct{ at State }

// State returns where the daemon stands.
func (m *Machine) State() State { return m.at }

// Signal moves the daemon to the state that the table has for the signal, and reports
// whether there is one. Nothing changes where there is none.
func (m *Machine) Signal(s Signal) bool {
	to, ok := table[row{m.at, s}]
	if ok {
		m.at = to
	}
	return ok
}
