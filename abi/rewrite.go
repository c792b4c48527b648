package abi

import (
	"bytes"
	"fmt"
	"strings"
)

// Names that a rewritten module has beside its own. No module that Inspect
// accepts uses them.
const (
	globalPrefix = "__wasmhost_" // of exports that a host adds

	FuelGlobal    = "__wasmhost_fuel"  // mutable i64: what is left before OutOfFuel is called
	DepthGlobal   = "__wasmhost_depth" // mutable i32: how many call frames may still be entered
	PaceGlobal    = "__wasmhost_pace"  // mutable i32: how much that is paid for may still run before OutOfFuel is called
	MeterModule   = "__wasmhost"       // imported: the module of OutOfFuel
	StartFunction = "__wasmhost_start" // func(): the module's start function, where it was taken out
	OutOfFuel     = "out"              // func(): called when one of the globals is below zero, and between pieces of BulkPiece; refills fuel and pace, or does not return
	MaxDepth      = 1 << 16            // what DepthGlobal begins with, in frames of up to 8 locals
	BulkPerFuel   = 16                 // bytes, or table elements, that a bulk instruction moves for one unit of fuel
	BulkPiece     = 1 << 20            // bytes that a bulk instruction moves at most before OutOfFuel is called
	localsWeight  = 8                  // locals that count as one frame more
	meterGlobals  = 3                  // of fuel, depth and pace
)

// FuelVersion is that of the charging. Version 1 looked at what was taken at function
// entry and loop heads alone, and took nothing for memory.grow: a call that ended
// before the next look could take more than its limit. What succeeds under version 2
// does so under version 1, with the same fuel but for memory.grow and the same
// results, so that a host of either replays what the other has recorded; a host of
// version 2 gives to what it replays the fuel that version 1 may have overlooked.
const FuelVersion = 2

// Rewritten is a module with what a host needs to meter and capture it.
type Rewritten struct {
	Wasm      []byte
	Globals   []string  // export names of all mutable globals that are state, in a fixed order
	Data      []Segment // with Options.Capture: to be written to a fresh memory, in this order
	Start     bool      // with Options.Capture: StartFunction is to be called once, after that
	Tables    []Table   // with Options.Capture: the tables that the module changes
	Functions int       // of the original module, imported ones included
	Types     []Type    // of its functions

	imported uint32 // functions
}

// Type is a function's type, in value types as they are encoded.
type Type struct{ Params, Results []byte }

// Original returns the index that a function of Wasm has in the original
// module; false where it was added.
func (r *Rewritten) Original(function uint32) (uint32, bool) {
	if function > r.imported {
		function--
	} else if function == r.imported {
		return 0, false
	}
	return function, int64(function) < int64(r.Functions)
}

// Segment is a part of a fresh memory. Bytes are the module's.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// Options say how a module is rewritten.
type Options struct {
	// Capture prepares the module for a host that makes memories itself and
	// moves them from instance to instance: active data segments and the start
	// function are taken out, the memory has no maximum of its own, tables that
	// the module changes can be read and written. A module that imports a
	// memory, or data at an offset that is no constant, is refused.
	Capture bool
}

// Rewrite returns the module with every mutable global exported, fuel metered
// and the depth of calls bounded; nothing else that a guest could observe is
// changed. The module must have passed Inspect. The result validates if and
// only if the module does, and the same bytes give the same result.
//
// Fuel is taken at function entry, at the head of each loop, and where a
// br_table leads to, each time for the instructions that belong to that place
// and to no other, whether branches skip some of them or not. Bulk instructions cost one more per
// BulkPerFuel bytes or elements, before they run, and memory.grow as much for the
// pages that it added. Whenever what is left is below zero OutOfFuel is called at once.
//
// State that an embedder cannot reach is made of globals that it can: a vector
// global becomes two of 64 bits, and whether a segment was dropped becomes a
// flag.
func Rewrite(wasm []byte, o Options) (*Rewritten, error) {
	p, refusal := parse(wasm)
	if refusal != nil {
		return nil, refusal
	}

	m := newMeter(p, p.survey(p.bodies(wasm)), o.Capture)
	out := &Rewritten{Functions: len(p.funcs), imported: m.out}
	for i := range p.results {
		out.Types = append(out.Types, Type{Params: bytes.Clone(p.params[i]), Results: bytes.Clone(p.results[i])})
	}

	if o.Capture {
		if refusal := out.image(p); refusal != nil {
			return nil, refusal
		}
		out.Tables = m.changedTables()
	}

	b := make([]byte, 0, len(wasm)+len(wasm)/2+256)
	b = append(b, wasm[:8]...)
	done := byte(0) // the last section written, by its order

	for _, s := range p.sections {
		if s.id != 0 {
			b = m.missing(b, done, byte(order(s.id)))
			done = byte(order(s.id)) + 1
		}

		body, keep := m.section(s, wasm[s.body:s.end])
		if m.fail != nil {
			return nil, m.fail
		}
		if keep {
			b = appendSection(b, s.id, body)
		}
	}

	out.Wasm = m.missing(b, done, byte(order(11))+1)
	out.Globals = m.exported
	return out, nil
}

// missing adds the sections that the module does not have, of those which the
// host adds to, between two places in the order of sections.
func (m *meter) missing(out []byte, from, to byte) []byte {
	for _, id := range []byte{1, 2, 3, 4, 6, 7, 9, 10} {
		if o := byte(order(id)); o >= from && o < to && (id != 3 && id != 10 || len(m.accessors) > 0) && (id != 4 && id != 9 || m.functions) {
			body, _ := m.section(section{id: id}, []byte{0})
			out = appendSection(out, id, body)
		}
	}
	return out
}

func appendSection(out []byte, id byte, body []byte) []byte {
	return append(appendU32(append(out, id), uint32(len(body))), body...)
}

// section returns what becomes of a section; not every custom one is kept.
func (m *meter) section(s section, body []byte) ([]byte, bool) {
	r := &reader{b: body}
	var out []byte
	switch s.id {
	case 0:
		switch name := r.name(); {
		case name == "name":
			return m.nameSection(body[:r.pos], r)
		case strings.HasPrefix(name, ".debug_"):
			return nil, false // its offsets into the code are no longer right
		}
		return body, true

	case 1:
		out = m.appended(r, 1+len(m.blockTypes))
		out = append(out, 0x60, 0, 0) // func(): OutOfFuel
		for _, t := range m.blockTypes {
			out = append(out, t...)
		}

	case 2:
		out = m.appended(r, 1)
		out = appendName(appendName(out, MeterModule), OutOfFuel)
		out = appendU32(append(out, 0), uint32(m.types))

	case 3:
		out = m.appended(r, len(m.accessors))
		for _, a := range m.accessors {
			out = appendU32(out, a.typ)
		}

	case 4:
		out = m.tables(r)
	case 5:
		out = m.memories(r)
	case 6:
		n := r.count()
		out = appendU32(nil, uint32(n+meterGlobals+len(m.added)))
		for range n {
			out = append(out, r.byte(), r.byte())
			out = m.constExpr(r, out)
		}

		out = append(out, typeI64, 1, 0x42, 0, 0x0b)                                           // (mut i64) 0: the first check asks
		out = append(append(append(out, typeI32, 1, 0x41), appendS32(nil, MaxDepth)...), 0x0b) // (mut i32)
		out = append(out, typeI32, 1, 0x41, 0, 0x0b)                                           // (mut i32) 0
		for _, g := range m.added {
			out = append(out, g.encoded...)
		}

	case 7:
		out = m.exports(r)
	case 8:
		idx := m.function(r)
		if m.capture {
			return nil, false // it is exported
		}
		out = appendU32(nil, idx)

	case 9:
		out = m.elements(r)
	case 12:
		out = appendU32(nil, m.dataCount(r.u32()))
	case 11:
		out = m.data(r)
	case 10:
		out = m.code(r)
	default:
		return body, true
	}

	if r.fail == nil && r.left() > 0 && s.id > 2 {
		r.refuse(RefusedMalformed, "section %d has bytes to spare", s.id)
	}

	if m.fail == nil {
		m.fail = r.fail
	}
	return out, true
}

// appended copies a vector whose count grows by more.
func (m *meter) appended(r *reader, more int) []byte {
	out := append(appendU32(nil, r.u32()+uint32(more)), r.b[r.pos:]...)
	r.pos = len(r.b)
	return out
}

func (m *meter) exports(r *reader) []byte {
	n := r.count()
	var out []byte
	for range n {
		name, kind, idx := r.name(), r.byte(), uint32(0)
		switch kind {
		case 0:
			idx = m.function(r)
		case 3:
			idx = r.index("global", uint32(len(m.p.globals)))
		default:
			idx = r.u32()
		}

		out = appendU32(append(appendName(out, name), kind), idx)
	}

	add := func(name string, idx int) {
		n++
		out = appendU32(append(appendName(out, name), 3), uint32(idx))
	}

	state := func(i int) {
		name := fmt.Sprintf("%sg%d", globalPrefix, i)
		m.exported = append(m.exported, name)
		add(name, i)
	}

	for i, g := range m.p.globals {
		if _, split := m.vectors[uint32(i)]; g.mutable && !g.imported && !split {
			state(i)
		}
	}

	for i := range m.added {
		state(m.fuel + meterGlobals + i)
	}

	add(FuelGlobal, m.fuel)
	add(DepthGlobal, m.fuel+1)
	add(PaceGlobal, m.fuel+2)
	function := func(name string, idx uint32) {
		n++
		out = appendU32(append(appendName(out, name), 0), idx)
	}

	if m.capture && m.p.hasStart {
		function(StartFunction, m.shift(m.p.start))
	}

	for i, a := range m.accessors {
		if a.name != "" {
			function(a.name, uint32(len(m.p.funcs)+1+i))
		}
	}
	return append(appendU32(nil, uint32(n)), out...)
}

// elements copies the element segments, with functions renumbered.
func (m *meter) elements(r *reader) []byte {
	n := r.count()
	out := appendU32(nil, uint32(n+m.addedElements()))
	for range n {
		flags := r.u32()
		out = appendU32(out, flags)
		if flags&1 == 0 { // active
			if flags&2 != 0 {
				out = appendU32(out, r.u32())
			}
			out = m.constExpr(r, out)
		}

		if flags&3 != 0 { // an element kind, or a reference type
			out = append(out, r.byte())
		}

		k := r.count()
		out = appendU32(out, uint32(k))
		for range k {
			if flags&4 != 0 {
				out = m.constExpr(r, out)
			} else {
				out = appendU32(out, m.function(r))
			}
		}
	}

	return m.moreElements(out)
}

// constExpr copies an initialiser, with functions renumbered.
func (m *meter) constExpr(r *reader, out []byte) []byte {
	start := r.pos
	if r.left() > 0 && r.b[start] == 0xd2 { // ref.func
		r.pos++
		out = appendU32(append(out, 0xd2), m.function(r))
		start = r.pos
	}
	r.constExpr()
	return append(out, r.b[start:r.pos]...)
}

// function reads a function index and returns what it becomes.
func (m *meter) function(r *reader) uint32 {
	idx := r.u32()
	if int64(idx) >= int64(len(m.p.funcs)) {
		r.refuse(RefusedMalformed, "function %d of %d", idx, len(m.p.funcs))
	}
	return m.shift(idx)
}

func (m *meter) shift(idx uint32) uint32 {
	if idx >= m.out {
		idx++
	}
	return idx
}

// nameSection copies the module's and the functions' names, for stack traces.
// Names in a form that cannot be read are left out: they never matter to what
// a module does.
func (m *meter) nameSection(head []byte, r *reader) ([]byte, bool) {
	out := append([]byte(nil), head...)
	for r.left() > 0 && r.fail == nil {
		id := r.byte()
		sub := &reader{b: r.bytes(r.u32())}
		switch id {
		case 0:
			out = appendSection(out, id, sub.b)
		case 1:
			n := sub.count()
			body := appendU32(nil, uint32(n))
			for range n {
				body = appendName(appendU32(body, m.shift(sub.u32())), sub.name())
			}
			out = appendSection(out, id, body)
		}

		if sub.fail != nil {
			return nil, false
		}
	}

	return out, r.fail == nil
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendS32 appends a signed LEB128.
func appendS32(b []byte, v int32) []byte {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}
