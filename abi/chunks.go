package abi

import (
	"maps"
	"slices"
)

// A bulk instruction of a memory that moves more than BulkPiece is done piece by
// piece in a function that is added. The function calls OutOfFuel between pieces, and
// before the first where there is no fuel left. An instruction whose range does not fit
// into the memory or the segment traps before anything is written, as it does in one
// piece.

// chunked is an instruction that has such a function.
type chunked struct{ op, segment uint32 }

// addChunked plans the functions.
func (m *meter) addChunked() {
	m.chunked = make(map[chunked]uint32)
	if m.survey.fills {
		m.addPieces(chunked{op: opMemoryFill})
	}

	if m.survey.copies {
		m.addPieces(chunked{op: opMemoryCopy})
	}

	for _, s := range slices.Sorted(maps.Keys(m.survey.inits)) {
		if int64(s) < int64(len(m.p.data)) && m.p.data[s].passive && len(m.p.data[s].bytes) > BulkPiece {
			m.addPieces(chunked{op: opMemoryInit, segment: s})
		}
	}
}

// piecesType returns the type of the functions: func(i32, i32, i32).
func (m *meter) piecesType() uint32 {
	for c := range m.chunked {
		return m.accessors[m.chunked[c]-uint32(len(m.p.funcs)+1)].typ
	}
	m.blockTypes = append(m.blockTypes, []byte{0x60, 3, typeI32, typeI32, typeI32, 0})
	return uint32(m.types + len(m.blockTypes))
}

func (m *meter) addPieces(c chunked) {
	const d, s, n = 0, 1, 2 // locals; of a fill, s is the value
	b := []byte{0}          // no more of them
	get := func(local byte) { b = append(b, 0x20, local) }
	constant := func(v int32) { b = appendS32(append(b, 0x41), v) }
	step := func(local, op byte) { // local += or -= BulkPiece
		get(local)
		constant(BulkPiece)
		b = append(b, op, 0x21, local)
	}

	const add, sub = 0x6a, 0x6b
	do := func() {
		b = append(appendU32(append(b, 0xfc), c.op&0xffff), 0)
		switch c.op {
		case opMemoryInit:
			b = append(appendU32(b[:len(b)-1], c.segment), 0)
		case opMemoryCopy:
			b = append(b, 0)
		}
	}

	whole := func() { get(d); get(s); get(n); do() }
	outside := func(local byte, size ...byte) { // if local + n > size: all at once, which traps
		get(local)
		b = append(b, 0xad)
		get(n)
		b = append(append(append(b, 0xad, 0x7c), size...), 0x56, 0x04, 0x40) // i64.extend_i32_u; i64.add; size; i64.gt_u; if
		whole()
		b = append(b, opReturn, opEnd)
	}

	pieces := func(piece func()) { // while n > BulkPiece
		b = append(b, opLoop, 0x40)
		get(n)
		constant(BulkPiece)
		b = append(b, 0x4b, 0x04, 0x40) // i32.gt_u; if
		piece()
		b = append(appendU32(append(b, opCall), m.out), opBr, 1, opEnd, opEnd)
	}

	forward := func() {
		pieces(func() {
			get(d)
			get(s)
			constant(BulkPiece)
			do()
			step(d, add)
			if c.op != opMemoryFill {
				step(s, add)
			}

			step(n, sub)
		})
	}

	b = append(appendU32(append(b, opGlobalGet), uint32(m.fuel)), 0x42, 0, 0x53, 0x04, 0x40) // i64.const 0; i64.lt_s; if
	b = append(appendU32(append(b, opCall), m.out), opEnd)
	memory := []byte{0x3f, 0, 0xad, 0x42, 16, 0x86} // memory.size; i64.extend_i32_u; i64.const 16; i64.shl
	outside(d, memory...)

	switch c.op {
	case opMemoryFill:
		forward()
	case opMemoryInit:
		outside(s, appendS64([]byte{0x42}, int64(len(m.p.data[c.segment].bytes)))...)
		forward()
	case opMemoryCopy:
		outside(s, memory...)
		get(d)
		get(s)
		b = append(b, 0x4d, 0x04, 0x40) // i32.le_u; if: what a piece overwrites was read before
		forward()
		b = append(b, opElse) // from the end
		pieces(func() {
			step(n, sub)
			for _, from := range []byte{d, s} {
				get(from)
				get(n)
				b = append(b, add)
			}

			constant(BulkPiece)
			do()
		})

		b = append(b, opEnd)
	}

	whole()
	typ := m.piecesType()
	m.accessors = append(m.accessors, accessor{typ: typ, body: append(b, opEnd)})
	m.chunked[c] = uint32(len(m.p.funcs) + len(m.accessors))
}

// inPieces emits an instruction that moves as much as is on top of the stack, paid
// for: as it is or, where there is much to move or no fuel left, by the function that
// was added for it.
func (f *function) inPieces(in instr, raw []byte) {
	added, ok := f.m.chunkedFor(in)
	if !ok {
		f.takeBulk()
		f.out = append(f.out, raw...)
		return
	}

	f.payBulk()
	f.emit(0x22, f.left)
	f.emit(opGlobalSet, uint32(f.m.fuel))
	f.emit(0x20, f.left)
	f.out = append(f.out, 0x42, 0, 0x53) // i64.const 0; i64.lt_s
	f.isMuch()
	f.out = append(f.out, 0x72) // i32.or
	f.either(added, raw)
}

// move is inPieces of what is paid for, as long as the first scratch local says.
func (f *function) move(in instr, raw []byte) {
	added, ok := f.m.chunkedFor(in)
	if !ok {
		f.out = append(f.out, raw...)
		return
	}
	f.isMuch()
	f.either(added, raw)
}

// isMuch emits: count > BulkPiece.
func (f *function) isMuch() {
	f.emit(0x20, f.count)
	f.out = append(appendS32(append(f.out, 0x41), BulkPiece), 0x4b) // i32.const; i32.gt_u
}

// either emits: if what is on top of the stack, call added; else raw.
func (f *function) either(added uint32, raw []byte) {
	f.out = appendS32(append(f.out, opIf), int32(f.m.accessors[added-uint32(len(f.m.p.funcs)+1)].typ))
	f.emit(opCall, added)
	f.out = append(append(append(f.out, opElse), raw...), opEnd)
}

func (m *meter) chunkedFor(in instr) (function uint32, ok bool) {
	c := chunked{op: in.op}
	if in.op == opMemoryInit {
		c.segment = in.index
	}
	function, ok = m.chunked[c]
	return function, ok
}
