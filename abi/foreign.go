package abi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Conventions that modules follow which know nothing of the contract, and which
// a host runs as daemons unchanged.
const (
	// ConventionCommand is a WASI program: each event is the standard input of a
	// fresh run of it, what it writes to standard output is the output, an exit
	// code other than 0 is a failure.
	ConventionCommand = "wasi-command"

	// ConventionExtism is an Extism plug-in: each event is the input of one call
	// of one of its functions, the output is the output. Its memory and variables
	// are the daemon's state.
	ConventionExtism = "extism"
)

// Conventions are all of them.
var Conventions = []string{ConventionCommand, ConventionExtism}

// foreignSection is the name of the custom section by which a module says that
// it follows a convention, for every host that it comes to: two names, the
// convention and the function that is called.
const foreignSection = "wasmhost_convention"

// ExportStart is what a WASI program runs.
const ExportStart = "_start"

// ExtismModule is the module of the functions that Extism plug-ins import.
const ExtismModule = "extism:host/env"

// ExtismFunctions are the functions of ExtismModule with their signatures, as in
// WASIFunctions.
var ExtismFunctions = map[string]string{
	"alloc": "I:I", "free": "I:", "length": "I:I", "length_unsafe": "I:I",
	"load_u8": "I:i", "load_u64": "I:I", "store_u8": "Ii:", "store_u64": "II:",
	"input_offset": ":I", "input_length": ":I", "input_load_u8": "I:i", "input_load_u64": "I:I",
	"output_set": "II:", "error_set": "I:", "config_get": "I:I", "var_get": "I:I", "var_set": "II:",
	"http_request": "II:I", "http_status_code": ":i", "http_headers": ":I",
	"log_trace": "I:", "log_debug": "I:", "log_info": "I:", "log_warn": "I:", "log_error": "I:", "get_log_level": ":i",
}

// MaxVariables bounds the names and values of an Extism plug-in's variables and
// configuration, in bytes, with 8 for each.
const MaxVariables = 256 << 10

// Foreign is the convention that a module follows instead of the contract.
type Foreign struct {
	Convention string `json:"convention"`
	Call       string `json:"call"` // the export that events are given to
}

// ErrConvention says that a module cannot be run by a convention.
var ErrConvention = errors.New("the module does not follow the convention")

// Adapt returns the module with a custom section that says which convention it
// follows; nothing else of it is changed. call names the export that events are
// given to: for an Extism plug-in with one export that takes an event it may be
// empty. Errors wrap ErrConvention, or are a *Refusal of a module that cannot be
// read.
func Adapt(wasm []byte, convention, call string) ([]byte, error) {
	if !slices.Contains(Conventions, convention) {
		return nil, fmt.Errorf("%w: there is no convention %q, but %s", ErrConvention, convention, strings.Join(Conventions, " and "))
	}

	p, refusal := parse(wasm)
	switch {
	case refusal != nil:
		return nil, refusal
	case p.foreign != nil:
		return nil, fmt.Errorf("%w: it says already that it follows %s", ErrConvention, p.foreign.Convention)
	case p.exportSignature(ExportMarker) != "":
		return nil, fmt.Errorf("%w: it follows the contract of wasmhost, and needs none", ErrConvention)
	}

	if convention == ConventionCommand {
		if call != "" && call != ExportStart {
			return nil, fmt.Errorf("%w: a WASI program is run by %s, not %q", ErrConvention, ExportStart, call)
		}
		call = ExportStart
	} else if call == "" {
		var err error
		if call, err = p.onlyCall(); err != nil {
			return nil, err
		}
	}

	if len(call) > 255 {
		return nil, fmt.Errorf("%w: a function's name of %d bytes", ErrConvention, len(call))
	}

	body := appendName(appendName(appendName(nil, foreignSection), convention), call)
	return append(appendU32(append(slices.Clip(slices.Clone(wasm)), 0), uint32(len(body))), body...), nil
}

// onlyCall returns the one export that can take an event.
func (p *parsed) onlyCall() (string, error) {
	var names []string
	for _, e := range p.exports {
		if sig, _ := p.funcSignature(e.idx); e.kind == 0 && sig == extismCall && !strings.HasPrefix(e.name, "_") {
			names = append(names, e.name)
		}
	}

	switch len(names) {
	case 0:
		return "", fmt.Errorf("%w: no export takes an event, as func() -> i32", ErrConvention)
	case 1:
		return names[0], nil
	}

	return "", fmt.Errorf("%w: several exports can take events, name one: %s", ErrConvention, strings.Join(names, ", "))
}

// extismCall is the signature of a plug-in's function.
const extismCall = ":i"

// exportSignature returns the signature of an exported function; empty where
// there is none of that name.
func (p *parsed) exportSignature(name string) string {
	for _, e := range p.exports {
		if e.name == name && e.kind == 0 {
			sig, _ := p.funcSignature(e.idx)
			return sig
		}
	}
	return ""
}

// readConvention reads the content of a foreignSection.
func (p *parsed) readConvention(r *reader) {
	f := &Foreign{Convention: r.name(), Call: r.name()}
	switch {
	case r.fail != nil:
	case r.left() > 0 || p.foreign != nil || !slices.Contains(Conventions, f.Convention) || f.Call == "":
		r.refuse(RefusedMalformed, "its section %s says nothing that this host knows", foreignSection)
	default:
		p.foreign = f
	}
}

// checkForeign says what a module of a convention lacks.
func (rep *Report) checkForeign(p *parsed) {
	f := p.foreign
	want := extismCall
	rep.State, rep.HasInit = StateMemory, true
	if f.Convention == ConventionCommand {
		want, rep.State = ":", StateStateless
	}

	if !rep.exports(ExportMemory) {
		rep.problem(RefusedMissing, `the module does not export "memory"`, "build it as "+f.Convention+" modules are")
	}

	switch got := p.exportSignature(f.Call); {
	case got == "":
		rep.problem(RefusedMissing, fmt.Sprintf("the module does not export a function %q", f.Call), "name one that it exports, with --call, or build it as "+f.Convention+" modules are")
	case got != want:
		rep.problem(RefusedSignature, fmt.Sprintf("export %q is %s, not %s", f.Call, describe(0, got), describe(0, want)), "name another with --call")
	}

	if rep.exports(ExportMarker) {
		rep.problem(RefusedMissing, "the module follows the contract of wasmhost and says that it follows "+f.Convention, "push the module as it was built, without --abi")
	}
}
