package abi

import "fmt"

// FaultKind groups the ways in which a call into a guest can fail.
type FaultKind string

// The kinds of fault. The strings are stable: they appear in logs and JSON.
const (
	FaultError  FaultKind = "error"  // the guest returned a non-zero code
	FaultTrap   FaultKind = "trap"   // the guest trapped or panicked
	FaultExit   FaultKind = "exit"   // the guest called proc_exit
	FaultLimit  FaultKind = "limit"  // the guest went over a limit; Limit names it
	FaultAnswer FaultKind = "answer" // the guest broke the contract (a pointer outside its memory, ...)
)

// Limits that a Fault of kind FaultLimit can name.
const (
	LimitFuel        = "fuel"
	LimitWall        = "wall-time"
	LimitMemory      = "memory"
	LimitOutputBytes = "output-bytes"
	LimitOutputCount = "output-count"
	LimitLogBytes    = "log-bytes"
	LimitStack       = "call-depth"
	LimitPending     = "pending-effects"
	LimitTimers      = "timers"
	LimitCalls       = "pending-calls"
)

// Fault is the error of a call into a guest that did not succeed. The call has
// left no trace in the daemon's state.
type Fault struct {
	Kind  FaultKind
	Call  string // the export that was being called
	Code  int32  // what the guest returned, for FaultError; the exit code, for FaultExit
	Limit string // which limit, for FaultLimit
	Text  string // the guest's own words (fail, a panic message), or what went wrong
	Stack string // the guest's stack, one frame a line, where there is one
}

// Error says what failed, with the guest's own words.
func (f *Fault) Error() string {
	switch f.Kind {
	case FaultError:
		return fmt.Sprintf("guest %s failed with code %d: %s", f.Call, f.Code, orNone(f.Text))
	case FaultExit:
		return fmt.Sprintf("guest %s exited with code %d: %s", f.Call, f.Code, orNone(f.Text))
	case FaultLimit:
		return fmt.Sprintf("guest %s went over its %s limit: %s", f.Call, f.Limit, orNone(f.Text))
	case FaultAnswer:
		return fmt.Sprintf("guest %s broke the contract: %s", f.Call, orNone(f.Text))
	default:
		return fmt.Sprintf("guest %s trapped: %s", f.Call, orNone(f.Text))
	}
}

func orNone(s string) string {
	if s == "" {
		return "(no text)"
	}
	return s
}
