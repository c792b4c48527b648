package abi

import "fmt"

// MaxTable is how many elements a table can have that the module lets grow.
const MaxTable = 1 << 16

// FunctionRef is exported by a rewritten module that changes tables:
// func(i32) funcref, the reference to a function by its index in the original
// module.
const FunctionRef = "__wasmhost_function"

// Table names the exported functions through which an embedder reads and
// writes a table. Functions are told apart by comparing what Get returns with
// what FunctionRef does: both are references of the same instance.
type Table struct {
	Size  string // func() i32
	Grow  string // func(n i32) i32: as table.grow, with null references
	Get   string // func(i i32) funcref; empty for a table of other references: those are null for ever
	Set   string // func(i, function i32); empty with Get
	Clear string // func(i i32): sets null
	Min   uint32 // elements it begins with
	Max   uint32 // elements it can have
	Index uint32 // in the module
}

// accessor is a function that is added.
type accessor struct {
	name string // it is exported as; empty: it is not
	typ  uint32
	body []byte // its size excluded
}

// functionTable reports whether a table of all functions is added. References
// are taken from it: an engine may make a new one for each ref.func that runs,
// and keep it for as long as the instance.
func (m *meter) functionTable() bool {
	return m.capture && (m.survey.refs || len(m.changedTables()) > 0)
}

// functionRef emits what becomes of a ref.func; false where it stays.
func (f *function) functionRef(in instr) bool {
	if !f.m.functions {
		return false
	}
	if !f.m.p.declared[in.index] {
		f.r.refuse(RefusedInvalid, "a reference to function %d, which is not declared, before offset %d", in.index, f.r.pos)
	}

	f.out = append(appendS32(append(f.out, 0x41), int32(in.index)), opTableGet) // i32.const
	f.out = appendU32(f.out, uint32(len(f.m.p.tables)))
	return true
}

// changedTables returns the module's own tables, where it changes any.
func (m *meter) changedTables() []Table {
	if !m.capture || !m.survey.tables {
		return nil
	}

	var out []Table
	for i, t := range m.p.tables {
		if t.imported {
			continue
		}

		name := func(what string) string { return fmt.Sprintf("%st%d_%s", globalPrefix, i, what) }
		table := Table{Size: name("size"), Grow: name("grow"), Clear: name("clear"), Min: t.min, Max: t.min, Index: uint32(i)}
		if m.survey.tableGrow {
			table.Max = m.growable(t.limits).max
		}

		if t.kind == typeFuncref {
			table.Get, table.Set = name("get"), name("set")
		}

		out = append(out, table)
	}

	return out
}

// addAccessors plans the functions that changedTables names.
func (m *meter) addAccessors() {
	types := make(map[string]uint32)
	add := func(name string, params, results []byte, body ...byte) {
		sig := append([]byte{0x60, byte(len(params))}, params...)
		sig = append(append(sig, byte(len(results))), results...)
		t, known := types[string(sig)]
		if !known {
			t = uint32(m.types + 1 + len(m.blockTypes))
			types[string(sig)] = t
			m.blockTypes = append(m.blockTypes, sig)
		}

		m.accessors = append(m.accessors, accessor{name, t, append(append([]byte{0}, body...), opEnd)})
	}

	changed := m.changedTables()
	if len(changed) == 0 {
		return
	}

	const localGet, refNull = 0x20, 0xd0
	i32 := []byte{typeI32}
	all := appendU32(nil, uint32(len(m.p.tables))) // the table of all functions
	add(FunctionRef, i32, []byte{typeFuncref}, append([]byte{localGet, 0, opTableGet}, all...)...)
	n := 0

	for i, t := range m.p.tables {
		if t.imported {
			continue
		}

		names, this := changed[n], appendU32(nil, uint32(i))
		n++
		add(names.Size, nil, i32, append([]byte{0xfc, 16}, this...)...)
		add(names.Grow, i32, i32, append([]byte{refNull, t.kind, localGet, 0, 0xfc, 15}, this...)...)
		add(names.Clear, i32, nil, append([]byte{localGet, 0, refNull, t.kind, opTableSet}, this...)...)
		if names.Get == "" {
			continue
		}

		add(names.Get, i32, []byte{typeFuncref}, append([]byte{localGet, 0, opTableGet}, this...)...)
		set := append([]byte{localGet, 0, localGet, 1, opTableGet}, all...)
		add(names.Set, []byte{typeI32, typeI32}, nil, append(append(set, opTableSet), this...)...)
	}
}

// growable bounds what a table that grows can have.
func (m *meter) growable(l limits) limits {
	if !l.hasMax || l.max > MaxTable {
		l.max = max(l.min, MaxTable)
	}
	return l
}

// tables copies the table section, with a bound on what grows.
func (m *meter) tables(r *reader) []byte {
	n := r.count()
	total := n
	if m.functions {
		total++
	}

	out := appendU32(nil, uint32(total))
	for range n {
		kind := r.byte()
		l := r.limits()
		flags := l.flags
		if m.capture && m.survey.tableGrow {
			l = m.growable(l)
			flags |= 1
		}

		out = appendLimits(append(out, kind), flags, l)
	}

	if m.functions {
		size := uint32(len(m.p.funcs))
		out = appendLimits(append(out, typeFuncref), 1, limits{min: size, max: size})
	}
	return out
}
