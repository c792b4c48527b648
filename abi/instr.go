package abi

// instr is one decoded instruction: what metering must know of it.
type instr struct {
	op    uint32 // the opcode; for those with a prefix, prefix<<16 | number
	index uint32 // of the function, local, global, label or segment
}

// Opcodes (core specification 2.0, section 5.4) that metering looks at.
const (
	opTraps      = 0x00 // unreachable
	opBlock      = 0x02
	opLoop       = 0x03
	opIf         = 0x04
	opElse       = 0x05
	opEnd        = 0x0b
	opBr         = 0x0c
	opBrIf       = 0x0d
	opBrTable    = 0x0e
	opReturn     = 0x0f
	opCall       = 0x10
	opCallInd    = 0x11
	opRefFunc    = 0xd2
	opGlobalGet  = 0x23
	opGlobalSet  = 0x24
	opTableGet   = 0x25
	opTableSet   = 0x26
	opMemoryGrow = 0x40
	opMemoryInit = 0xfc<<16 | 8
	opDataDrop   = 0xfc<<16 | 9
	opMemoryCopy = 0xfc<<16 | 10
	opMemoryFill = 0xfc<<16 | 11
	opTableInit  = 0xfc<<16 | 12
	opElemDrop   = 0xfc<<16 | 13
	opTableCopy  = 0xfc<<16 | 14
	opTableGrow  = 0xfc<<16 | 15
	opTableFill  = 0xfc<<16 | 17
)

// bounds are the numbers that indices must stay below, so that nothing a host
// adds can be reached from the module's own code.
type bounds struct{ funcs, types, locals, globals, labels uint32 }

// instr reads one instruction. Every index is within bounds.
func (r *reader) instr(b *bounds) instr {
	op := uint32(r.byte())
	in := instr{op: op}
	switch {
	case op == opBlock, op == opLoop, op == opIf:
		r.blockType(b)
	case op == opBr, op == opBrIf:
		in.index = r.index("label", b.labels)
	case op == opBrTable:
		for n := r.count(); n >= 0 && r.fail == nil; n-- { // and the default
			r.index("label", b.labels)
		}

	case op == opCall, op == opRefFunc:
		in.index = r.index("function", b.funcs)
	case op == opCallInd:
		r.index("type", b.types)
		r.u32()
	case op <= 0x01, op == opElse, op == opEnd, op == opReturn, op == 0x1a, op == 0x1b, // drop, select
		op >= 0x45 && op <= 0xc4, op == 0xd1: // numeric, ref.is_null
	case op == 0x1c: // select t
		r.bytes(r.u32())
	case op >= 0x20 && op <= 0x22:
		in.index = r.index("local", b.locals)
	case op == 0x23 || op == 0x24:
		in.index = r.index("global", b.globals)
	case op == 0x25 || op == 0x26: // table.get, table.set
		r.u32()
	case op >= 0x28 && op <= 0x3e: // loads and stores
		r.memArg()
	case op == 0x3f || op == 0x40: // memory.size, memory.grow
		r.byte()
	case op == 0x41:
		r.skipLEB(5)
	case op == 0x42:
		r.skipLEB(10)
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	case op == 0xd0: // ref.null
		r.byte()
	case op == 0xfc || op == 0xfd:
		in.op = op<<16 | min(r.u32(), 0xffff)
		in.index = r.prefixed(in.op)
	default:
		r.unknown(op)
	}

	return in
}

// prefixed reads the immediates of bulk and vector instructions. It returns the
// first of a bulk instruction's, which is the segment where there is one.
func (r *reader) prefixed(op uint32) (first uint32) {
	switch n := op & 0xffff; {
	case op>>16 == 0xfc && n <= 7: // saturating conversions
	case op>>16 == 0xfc && (n == 9 || n == 11 || n == 13 || n >= 15 && n <= 17):
		first = r.u32()
	case op>>16 == 0xfc && (n == 8 || n == 10 || n == 12 || n == 14):
		first = r.u32()
		r.u32()
	case op>>16 == 0xfc:
		r.unknown(op)
	case n <= 11 || n == 92 || n == 93: // loads and stores
		r.memArg()
	case n == 12 || n == 13: // v128.const, i8x16.shuffle
		r.bytes(16)
	case n >= 21 && n <= 34: // lanes
		r.byte()
	case n >= 84 && n <= 91: // loads and stores of lanes
		r.memArg()
		r.byte()
	case n <= 255:
	default:
		r.unknown(op)
	}
	return first
}

func (r *reader) unknown(op uint32) {
	if r.fail != nil {
		return
	}

	feature, mend := "an unknown instruction", "build for WebAssembly 2.0"
	switch {
	case op == 0x12 || op == 0x13:
		feature, mend = "a tail call", "build without the tail-call feature"
	case op == 0x14 || op == 0x15 || op >= 0xd3 && op <= 0xd6:
		feature, mend = "typed function references", "build without the function-references feature"
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		feature, mend = "exception handling", "build without exceptions"
	case op == 0xfb:
		feature, mend = "garbage-collected types", "build for a language or target that does not need them"
	case op == 0xfe:
		feature, mend = "an atomic instruction", "build without threads"
	case op>>16 == 0xfd:
		feature, mend = "relaxed SIMD", "build without the relaxed-simd feature"
	}

	r.refuse(RefusedFeature, "instruction 0x%x at offset %d: %s", op, r.pos-1, feature)
	r.fail.Mend = mend
}

func (r *reader) index(what string, below uint32) uint32 {
	v := r.u32()
	if v >= below {
		r.refuse(RefusedInvalid, "%s %d of %d, before offset %d", what, v, below, r.pos)
	}
	return v
}

func (r *reader) memArg() {
	r.u32()
	r.u32()
}

// blockType reads a value type, nothing, or the index of a type.
func (r *reader) blockType(b *bounds) {
	if r.left() > 0 && r.b[r.pos]&0xc0 == 0x40 { // one byte, negative
		r.pos++
		return
	}
	r.index("type", b.types)
}
