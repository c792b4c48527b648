package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// command reports whether the module is a WASI program, which is run anew for
// each event.
func (m *Module) command() bool {
	return m.report.Foreign != nil && m.report.Foreign.Convention == abi.ConventionCommand
}

// keepsVariables reports whether the module's guests have variables, beside
// their memory.
func (m *Module) keepsVariables() bool {
	return m.report.Foreign != nil && m.report.Foreign.Convention == abi.ConventionExtism
}

// foreign gives an event, or the configuration, to a module that does not follow
// the contract.
func (i *instance) foreign(kind callKind, ev *Event, data []byte) error {
	i.begin(i.module.report.Foreign.Call, ev)
	switch {
	case i.module.command():
		return i.program(data)
	case kind == callInit:
		i.call.name = abi.ExportInit
		return i.configure(data)
	}
	return i.plugin(data)
}

// program runs a WASI program. What it wrote to standard output is the output.
func (i *instance) program(input []byte) error {
	c := &i.call
	c.input = input
	err := i.run(i.fn.process, nil)
	var f *abi.Fault
	switch {
	case err == nil:
	case errors.As(err, &f) && f.Kind == abi.FaultExit && f.Code == 0:
	case errors.As(err, &f) && f.Kind == abi.FaultExit:
		return i.broke(abi.FaultError, f.Code, c.text())
	default:
		return err
	}
	c.input = nil
	if g := i.bound; len(g.out) > 0 {
		g.ends = append(g.ends, len(g.out))
	}
	return nil
}

// write takes what a program writes to standard output.
func (i *instance) write(b []byte) {
	c, g, l := &i.call, i.bound, &i.bound.options.Limits
	if len(g.out)+len(b) > l.OutputBytes {
		c.over, c.overText = abi.LimitOutputBytes, fmt.Sprintf("it wrote more than %d bytes to standard output", l.OutputBytes)
		panic(errOverLimit)
	}
	g.out = append(g.out, b...)
}

// arguments makes a program's arguments of its configuration, one a line.
func arguments(config []byte) []string {
	args := []string{"program"}
	if len(config) > 0 {
		args = append(args, strings.Split(strings.TrimSuffix(string(config), "\n"), "\n")...)
	}
	return args
}

// configure makes a plug-in's configuration of JSON: an object of texts.
func (i *instance) configure(config []byte) error {
	if len(config) == 0 {
		return nil
	}
	var values map[string]string
	dec := json.NewDecoder(bytes.NewReader(config))
	if err := dec.Decode(&values); err != nil || dec.More() {
		return i.broke(abi.FaultError, 2, "an Extism plug-in's configuration is a JSON object of texts")
	}
	for key, value := range values {
		if !i.vars.set(configPrefix+key, []byte(value)) {
			return i.broke(abi.FaultError, 2, fmt.Sprintf("the configuration has more than %d bytes", abi.MaxVariables))
		}
	}
	return nil
}

// plugin calls an Extism plug-in's function.
func (i *instance) plugin(input []byte) error {
	k := &i.kernel
	if len(input) > 0 {
		if err := i.within(func() { k.input = i.keep(input) }); err != nil {
			return err
		}
		k.inputSize = uint64(len(input))
	}
	i.stack[0] = 0
	if err := i.run(i.fn.process, i.stack[:1]); err != nil {
		return err
	}
	if code := int32(i.stack[0]); code != 0 {
		return i.broke(abi.FaultError, code, i.call.text())
	}
	if k.outputSize > 0 {
		g := i.bound
		if int(k.outputSize) > g.options.Limits.OutputBytes {
			return i.overLimit(abi.LimitOutputBytes, fmt.Sprintf("its output has %d bytes, at most %d", k.outputSize, g.options.Limits.OutputBytes))
		}
		g.out = append(g.out, k.arena[k.output:k.output+k.outputSize]...)
		g.ends = append(g.ends, len(g.out))
	}
	return nil
}

// within does, before the guest runs, what host functions do while it runs: going
// over a limit is the call's fault.
func (i *instance) within(do func()) (err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errOverLimit:
			if err = ErrStopped; i.call.over != overStopped {
				err = i.overLimit(i.call.over, i.call.overText)
			}
		default:
			panic(r)
		}
	}()
	do()
	return nil
}

// kernel is the memory that a plug-in shares with its host during a call, by
// offsets. It is no part of the state: each call begins with an empty one.
type kernel struct {
	arena              []byte            // from offset 0, which is no block
	blocks             map[uint64]uint64 // sizes by offset
	input, inputSize   uint64
	output, outputSize uint64
}

// keptArena is how many bytes an idle kernel keeps.
const keptArena = 64 << 10

func (k *kernel) reset() {
	if cap(k.arena) > keptArena {
		k.arena = nil
	}
	k.arena = append(k.arena[:0], make([]byte, 16)...)
	if k.blocks == nil {
		k.blocks = make(map[uint64]uint64)
	}
	clear(k.blocks)
	k.input, k.inputSize, k.output, k.outputSize = 0, 0, 0, 0
}

// allocate makes a block of n zeros. All blocks of a call together are bounded
// as the guest's memory is.
func (i *instance) allocate(n uint64) uint64 {
	k := &i.kernel
	if n == 0 {
		return 0
	}
	off := (uint64(len(k.arena)) + 15) &^ 15
	if limit := i.bound.limit(); n > limit || off+n > limit {
		i.call.over, i.call.overText = abi.LimitMemory, fmt.Sprintf("it asked for %d bytes of blocks, at most %d", off+n, limit)
		panic(errOverLimit)
	}
	i.spend(n)
	k.arena = append(k.arena, make([]byte, off+n-uint64(len(k.arena)))...)
	k.blocks[off] = n
	return off
}

// keep makes a block of b; 0 for nothing.
func (i *instance) keep(b []byte) uint64 {
	off := i.allocate(uint64(len(b)))
	copy(i.kernel.arena[off:], b)
	return off
}

// at returns n bytes at an offset, or ends the call.
func (i *instance) at(fn string, off, n uint64) []byte {
	size := uint64(len(i.kernel.arena))
	if off > size || n > size-off {
		i.call.badPointer = fmt.Sprintf("it called %s with %d bytes at %#x, outside its blocks", fn, n, off)
		panic(errBadPointer)
	}
	return i.kernel.arena[off : off+n]
}

// block returns the block at an offset; nothing at 0.
func (i *instance) block(fn string, off uint64) []byte {
	if off == 0 {
		return nil
	}
	b := i.at(fn, off, i.kernel.blocks[off])
	i.spend(uint64(len(b)))
	return b
}

// word returns the 8 bytes at an offset of b, zeros beyond its end.
func word(b []byte, off uint64) uint64 {
	var w [8]byte
	if off < uint64(len(b)) {
		copy(w[:], b[off:])
	}
	return binary.LittleEndian.Uint64(w[:])
}

// extismFunctions answer abi.ExtismFunctions.
func extismFunctions() map[string]hostFunction {
	none := func(_ *instance, _ api.Module, s []uint64) { s[0] = 0 }
	length := func(i *instance, _ api.Module, s []uint64) { s[0] = i.kernel.blocks[s[0]] }
	input := func(i *instance) []byte { return i.kernel.arena[i.kernel.input : i.kernel.input+i.kernel.inputSize] }
	f := map[string]hostFunction{
		"alloc": func(i *instance, _ api.Module, s []uint64) { s[0] = i.allocate(s[0]) },
		"free": func(i *instance, _ api.Module, s []uint64) {
			k := &i.kernel
			if n, ok := k.blocks[s[0]]; ok {
				delete(k.blocks, s[0])
				if s[0]+n == uint64(len(k.arena)) && s[0] >= max(k.input+k.inputSize, k.output+k.outputSize) { // the last one: its room is used again
					k.arena = k.arena[:s[0]]
				}
			}
		},
		"length": length, "length_unsafe": length,
		"load_u8":  func(i *instance, _ api.Module, s []uint64) { s[0] = uint64(i.at("load_u8", s[0], 1)[0]) },
		"load_u64": func(i *instance, _ api.Module, s []uint64) { s[0] = word(i.at("load_u64", s[0], 8), 0) },
		"store_u8": func(i *instance, _ api.Module, s []uint64) { i.at("store_u8", s[0], 1)[0] = byte(s[1]) },
		"store_u64": func(i *instance, _ api.Module, s []uint64) {
			binary.LittleEndian.PutUint64(i.at("store_u64", s[0], 8), s[1])
		},
		"input_offset": func(i *instance, _ api.Module, s []uint64) { s[0] = i.kernel.input },
		"input_length": func(i *instance, _ api.Module, s []uint64) { s[0] = i.kernel.inputSize },
		"input_load_u8": func(i *instance, _ api.Module, s []uint64) {
			s[0] = word(input(i), s[0]) & 0xff
		},
		"input_load_u64": func(i *instance, _ api.Module, s []uint64) { s[0] = word(input(i), s[0]) },
		"output_set": func(i *instance, _ api.Module, s []uint64) {
			i.at("output_set", s[0], s[1])
			i.kernel.output, i.kernel.outputSize = s[0], s[1]
		},
		"error_set": func(i *instance, _ api.Module, s []uint64) { i.call.failText = clip(i.block("error_set", s[0])) },
		"config_get": func(i *instance, _ api.Module, s []uint64) {
			s[0] = i.keep(i.vars.get(configPrefix + string(i.block("config_get", s[0]))))
		},
		"var_get": func(i *instance, _ api.Module, s []uint64) {
			s[0] = i.keep(i.vars.get(varPrefix + string(i.block("var_get", s[0]))))
		},
		"var_set": func(i *instance, _ api.Module, s []uint64) {
			key := varPrefix + string(i.block("var_set", s[0]))
			if s[1] == 0 {
				i.vars.remove(key)
				return
			}
			if !i.vars.set(key, i.block("var_set", s[1])) {
				i.call.over, i.call.overText = abi.LimitMemory, fmt.Sprintf("its variables take more than %d bytes", abi.MaxVariables)
				panic(errOverLimit)
			}
		},
		"http_request": func(i *instance, _ api.Module, s []uint64) {
			i.call.badPointer = "it called http_request, which is not supported: a daemon reaches nothing outside"
			panic(errBadPointer)
		},
		"http_status_code": none, "http_headers": none,
		"get_log_level": none, // all levels are wanted
	}
	for name, level := range map[string]int{"log_trace": abi.LogDebug, "log_debug": abi.LogDebug, "log_info": abi.LogInfo, "log_warn": abi.LogWarn, "log_error": abi.LogError} {
		f[name] = func(i *instance, _ api.Module, s []uint64) { i.log(level, clip(i.block(name, s[0]))) }
	}
	return f
}
