package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"

	"wasmhost.example/abi"
)

// errOverLimit ends a call that went over the limit that call.over names.
var errOverLimit = errors.New("over a limit")

// ErrStopped ends an event by Options.Stop. The event left no trace.
var ErrStopped = errors.New("the host has ended the event")

// overStopped is what call.over is then: no limit.
const overStopped = "stopped"

// broke makes the fault of the call in progress.
func (i *instance) broke(kind abi.FaultKind, code int32, text string) *abi.Fault {
	return &abi.Fault{Kind: kind, Call: i.call.name, Code: code, Text: text}
}

func (i *instance) overLimit(limit, text string) *abi.Fault {
	f := i.broke(abi.FaultLimit, 0, text)
	f.Limit = limit
	return f
}

// fault makes an *abi.Fault of what ended the call.
func (i *instance) fault(err error) error {
	var exit *sys.ExitError
	said := i.call.text()
	switch {
	case i.call.over == overStopped:
		return ErrStopped
	case i.call.over != "":
		f := i.overLimit(i.call.over, i.call.overText)
		_, f.Stack = split(err)
		return f
	case i.call.exited:
		return i.broke(abi.FaultExit, i.call.exitCode, said)
	case errors.As(err, &exit):
		return i.broke(abi.FaultExit, int32(exit.ExitCode()), said)
	}
	reason, stack := split(err)
	var f *abi.Fault
	switch {
	case strings.Contains(reason, "stack overflow"):
		f = i.overLimit(abi.LimitStack, reason)
	case i.view.refused:
		f = i.overLimit(abi.LimitMemory, fmt.Sprintf("it asked for more memory than its limit of %d bytes, and then failed: %s", i.bound.limit(), reason))
	case i.call.badPointer != "":
		f = i.broke(abi.FaultAnswer, 0, i.call.badPointer)
	default:
		f = i.broke(abi.FaultTrap, 0, reason)
		if said != "" {
			f.Text = said + " (" + reason + ")"
		}
	}
	f.Stack = stack
	return f
}

// split parts wazero's message into the reason and the guest's stack.
func split(err error) (reason, stack string) {
	reason, stack, _ = strings.Cut(err.Error(), "\nwasm stack trace:\n")
	reason = strings.TrimSuffix(strings.TrimPrefix(reason, "wasm error: "), " (recovered by wazero)")
	var frames []string
	for _, line := range strings.Split(stack, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			frames = append(frames, line)
		}
	}
	return reason, strings.Join(frames, "\n")
}
