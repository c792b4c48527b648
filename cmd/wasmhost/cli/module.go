package cli

import (
	"fmt"
	"io"

	"wasmhost.example/abi"
)

// StateText says for people how a module keeps its state, one of abi's State constants.
func StateText(state string) string {
	switch state {
	case abi.StateHooks:
		return "its memory and globals are captured; it exports hooks as well"
	case abi.StateStateless:
		return "it keeps no state between events"
	default:
		return "its memory and globals are captured: it needs no code for that"
	}
}

func contractText(r *abi.Report) string {
	if r.Foreign != nil {
		return fmt.Sprintf("none: it is run by the convention %s, events are given to %s", r.Foreign.Convention, r.Foreign.Call)
	}
	return fmt.Sprintf("version %d", r.ABI)
}

func reportState(r *abi.Report) string {
	if r.Foreign != nil && r.State == abi.StateStateless {
		return "the program is run anew for each event"
	}
	return StateText(r.State)
}

// WriteReport writes what is known of a module as rows of a table.
func WriteReport(w io.Writer, r *abi.Report) {
	max := "no maximum"
	if r.Memory.HasMax {
		max = fmt.Sprintf("at most %d", r.Memory.Max)
	}
	fmt.Fprintf(w, "digest\t%s\nsize\t%s\ncontract\t%s\nstate\t%s: %s\nmemory\t%d pages at start, %s\nfunctions\t%d\nmutable globals\t%d\n",
		r.Digest, Size(r.Size), contractText(r), r.State, reportState(r), r.Memory.Min, max, r.Functions, r.Globals)
	for _, c := range r.Capture {
		fmt.Fprintf(w, "captured\t%s\n", OneLine(c))
	}
	for _, i := range r.Imports {
		fmt.Fprintf(w, "import\t%s.%s\n", OneLine(i.Module), OneLine(i.Name))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "PROBLEM\t%s: %s\n\t%s\n", p.Code, OneLine(p.Found), OneLine(p.Mend))
	}
}
