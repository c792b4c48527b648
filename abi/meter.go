package abi

import (
	"fmt"
	"strings"
)

// meter rewrites function bodies. A function becomes
//
//	take fuel; depth -= weight; call OutOfFuel if either is below zero
//	block (its results)
//	    its body, with return as a branch to the end, and fuel taken at loop heads
//	end
//	depth += weight
//
// and one that calls nothing is not counted in depth: it cannot recurse. Whether
// fuel is left is looked at before what was paid for runs, but where a br_table leads
// to: what runs from there to the next look is bounded by pace.go, which also keeps a
// long stretch of paid instructions from running without a call of OutOfFuel.
type meter struct {
	p          *parsed
	survey     *survey
	capture    bool               // what Options.Capture asks
	types      int                // of the module
	out        uint32             // index of OutOfFuel: after the imported functions
	fuel       int                // index of FuelGlobal; DepthGlobal and PaceGlobal are the next
	added      []addedGlobal      // after PaceGlobal
	dataFlags  map[uint32]int     // segment to the global that says it was dropped
	elemFlags  map[uint32]int     // the same for element segments
	vectors    map[uint32]int     // vector global to the first of the two that stand for it
	blockTypes [][]byte           // types added, the first for functions of several results
	blockIndex map[string]int32   // by results
	accessors  []accessor         // functions added after the module's own
	chunked    map[chunked]uint32 // what moves much to the added function that does it in pieces
	functions  bool               // a table of all functions is added
	exported   []string
	fail       *Refusal
}

func newMeter(p *parsed, s *survey, capture bool) *meter {
	m := &meter{p: p, survey: s, capture: capture, types: len(p.types), fuel: len(p.globals), blockIndex: make(map[string]int32)}
	for _, im := range p.imports {
		if im.Kind == "function" {
			m.out++
		}
	}

	m.addGlobals()
	m.functions = m.functionTable()
	for _, t := range p.funcs[m.out:] {
		if int64(t) >= int64(len(p.types)) {
			continue // code refuses it
		}

		results := p.results[t]
		if _, known := m.blockIndex[string(results)]; len(results) > 1 && !known {
			m.blockIndex[string(results)] = int32(m.types + 1 + len(m.blockTypes))
			m.blockTypes = append(m.blockTypes, append(appendU32([]byte{0x60, 0}, uint32(len(results))), results...))
		}
	}

	m.addAccessors()
	m.addChunked()
	return m
}

// code rewrites the code section.
func (m *meter) code(r *reader) []byte {
	n := r.count()
	if n != len(m.p.funcs)-int(m.out) {
		r.refuse(RefusedInvalid, "%d function bodies for %d functions", n, len(m.p.funcs)-int(m.out))
		return nil
	}
	if len(m.survey.functions) != n {
		r.refuse(RefusedInvalid, "%d function bodies of %d", len(m.survey.functions), n)
		return nil
	}

	out := appendU32(make([]byte, 0, len(r.b)*3/2), uint32(n+len(m.accessors)))
	f := &function{m: m}
	for i := range n {
		body := r.bytes(r.u32())
		if r.fail != nil {
			return nil
		}

		t := m.p.funcs[int(m.out)+i]
		if int64(t) >= int64(m.types) {
			r.refuse(RefusedInvalid, "function %d has type %d of %d", i, t, m.types)
			return nil
		}

		f.rewrite(&reader{b: body}, t, m.survey.functions[i])
		if f.r.fail != nil {
			r.fail = f.r.fail
			r.fail.Found = fmt.Sprintf("%s, in the body of function %d", r.fail.Found, int(m.out)+i)
			return nil
		}

		out = append(appendU32(out, uint32(len(f.out))), f.out...)
	}

	for _, a := range m.accessors {
		out = append(appendU32(out, uint32(len(a.body))), a.body...)
	}
	return out
}

// function is the body being rewritten.
type function struct {
	m      *meter
	r      *reader
	out    []byte
	blocks []block
	heads  []head // in order; the first is the function's entry
	uses   usage
	since  uint32 // as pace.go says
	left   uint32 // index of the scratch local: i64
	count  uint32 // index of the first scratch local of type i32: as many as usage.counts says
	vector uint32 // index of the scratch local: v128, with usesVectors
}

// block is an open block, the function's own first.
type block struct {
	around int    // the head whose segment the block began in
	target bool   // of a br_table
	op     uint32 // what opened it; the function's own: opBlock
	began  uint32 // function.since where it began
	since  uint32 // the most that function.since was at a branch to its end
}

// head is a place where fuel is taken, for the instructions of its segment:
// all that run at most once for each time that the head does, and are no other
// head's. Beside entry and loops, the ends of blocks that a br_table leads to
// are heads: compilers such as Go's make whole functions one loop around a
// br_table, and of such a loop a turn runs only a part.
type head struct {
	cost  uint32
	patch int // offset in out of the cost: 5 bytes
}

func (f *function) rewrite(r *reader, typ uint32, uses usage) {
	f.r, f.out, f.blocks, f.heads, f.uses, f.since = r, f.out[:0], f.blocks[:0], f.heads[:0], uses, 0
	params, _, _ := strings.Cut(f.m.p.types[typ], ":")
	locals := f.locals(len(params))
	body := r.pos
	if r.fail != nil {
		return
	}

	f.declare(r.b[:body], locals)
	weight := 1 + locals/localsWeight
	f.take(f.head())

	if f.uses&usesCalls != 0 {
		f.deeper(-int32(weight))
		f.emit(0x23, uint32(f.m.fuel+1))                 // global.get depth
		f.out = append(f.out, 0x41, 0, 0x48, 0x04, 0x40) // i32.const 0; i32.lt_s; if
		f.emit(opCall, f.m.out)
		f.out = append(f.out, opEnd)
		f.out = append(f.out, opBlock)
		f.out = append(f.out, f.blockType(typ)...)
	}

	f.body(bounds{funcs: uint32(len(f.m.p.funcs)), types: uint32(f.m.types), locals: locals, globals: uint32(len(f.m.p.globals))})
	if f.uses&usesCalls != 0 {
		if f.since >= paceAtEnd {
			f.pace()
		}
		f.deeper(int32(weight))
		f.out = append(f.out, opEnd)
	}

	for _, h := range f.heads {
		for k := range 4 {
			f.out[h.patch+k] = byte(h.cost>>(7*k)) | 0x80
		}
		f.out[h.patch+4] = byte(h.cost>>28) & 0x0f
	}
}

// locals reads the declarations and returns how many locals there are,
// parameters included.
func (f *function) locals(params int) uint32 {
	n := uint64(params)
	f.r.each(func() {
		n += uint64(f.r.u32())
		f.r.byte()
	})

	const most = 50_000 // what the engine allows
	if n > most {
		f.r.refuse(RefusedInvalid, "%d locals, at most %d", n, most)
	}
	return uint32(n)
}

// declare copies the declarations and adds the scratch locals, the first of
// which has index next.
func (f *function) declare(old []byte, next uint32) {
	added := []byte{1, typeI64}
	f.left = next
	next++
	if n := f.uses.counts(); n > 0 {
		added = append(added, n, typeI32)
		f.count = next
		next += uint32(n)
	}

	if f.uses&usesVectors != 0 && len(f.m.vectors) > 0 {
		added = append(added, 1, typeV128)
		f.vector = next
	}

	r := &reader{b: old}
	f.out = append(appendU32(f.out, r.u32()+uint32(len(added)/2)), old[r.pos:]...)
	f.out = append(f.out, added...)
}

// body copies the instructions.
func (f *function) body(b bounds) {
	r := f.r
	f.blocks = append(f.blocks, block{op: opBlock})
	at := 0 // the head that pays

	for r.fail == nil && len(f.blocks) > 0 {
		start := r.pos
		b.labels = uint32(len(f.blocks))
		in := r.instr(&b)
		if r.fail != nil {
			return
		}

		if in.op > opIf || in.op == 0 {
			f.heads[at].cost++
		}

		f.walk(in)
		switch in.op {
		case opLoop:
			f.out = append(f.out, r.b[start:r.pos]...)
			f.blocks = append(f.blocks, block{around: at, op: opLoop})
			at = f.head()
			f.take(at)
			continue

		case opBlock, opIf:
			f.blocks = append(f.blocks, block{around: at, op: in.op, began: f.since})
		case opEnd:
			b := f.blocks[len(f.blocks)-1]
			f.blocks, at = f.blocks[:len(f.blocks)-1], b.around
			if b.target && len(f.blocks) > 0 {
				f.out = append(f.out, opEnd)
				at = f.head()
				f.pay(at)
				f.emit(0x24, uint32(f.m.fuel)) // looked at with the next: as many blocks more would make compiling dear
				continue
			}

		case opElse:
			at = f.blocks[len(f.blocks)-1].around
		case opBrTable:
			f.targets(r.b[start+1 : r.pos])
		case opRefFunc:
			if !f.functionRef(in) {
				f.emit(byte(in.op), f.m.shift(in.index))
			}
			continue

		case opCall:
			f.emit(byte(in.op), f.m.shift(in.index))
			continue
		case opReturn:
			if f.uses&usesCalls != 0 {
				f.emit(opBr, uint32(len(f.blocks)-1))
				continue
			}

		case opTableCopy, opTableGrow, opTableFill:
			f.takeBulk()
		case opMemoryCopy, opMemoryFill:
			f.inPieces(in, r.b[start:r.pos])
			continue
		case opMemoryInit, opTableInit:
			if !f.fromSegment(in, r.b[start:r.pos]) {
				f.inPieces(in, r.b[start:r.pos])
			}
			continue

		case opMemoryGrow:
			f.grow(r.b[start:r.pos])
			continue
		case opDataDrop, opElemDrop:
			if f.drop(in) {
				continue
			}

		case opGlobalGet, opGlobalSet:
			if f.vectorGlobal(in) {
				continue
			}
		}

		f.out = append(f.out, r.b[start:r.pos]...)
	}

	if r.fail == nil && r.left() > 0 {
		r.refuse(RefusedInvalid, "instructions after the end of a function")
	}
}

func (f *function) head() int {
	f.heads = append(f.heads, head{cost: 1})
	return len(f.heads) - 1
}

// targets marks the blocks that a br_table leads to.
func (f *function) targets(labels []byte) {
	r := &reader{b: labels}
	for n := r.count(); n >= 0; n-- {
		label := r.u32()
		f.blocks[len(f.blocks)-1-int(label)].target = true
		f.leads(label)
	}
	f.since = 0
}

// take emits: left = fuel - cost; fuel = left; if left < 0, call OutOfFuel.
func (f *function) take(h int) {
	f.pay(h)
	f.check()
}

// check emits: fuel = left, for what is on top of the stack; if left < 0, call
// OutOfFuel.
func (f *function) check() {
	f.emit(0x22, f.left)           // local.tee
	f.emit(0x24, uint32(f.m.fuel)) // global.set
	f.emit(0x20, f.left)           // local.get
	f.out = append(f.out, 0x42, 0, 0x53, 0x04, 0x40)
	f.emit(opCall, f.m.out)
	f.out = append(f.out, opEnd)
}

// pay emits: fuel - cost, left on the stack.
func (f *function) pay(h int) {
	f.emit(0x23, uint32(f.m.fuel)) // global.get
	f.out = append(f.out, 0x42)    // i64.const
	f.heads[h].patch = len(f.out)
	f.out = append(f.out, 0, 0, 0, 0, 0, 0x7d) // i64.sub
}

// takeBulk emits: fuel -= n / BulkPerFuel, and a check, for the n on top of the
// stack: what is not paid for does not run.
func (f *function) takeBulk() {
	f.payBulk()
	f.check()
}

// payBulk emits: count = n; fuel - n / BulkPerFuel, left on the stack.
func (f *function) payBulk() {
	f.emit(0x22, f.count)
	f.emit(0x23, uint32(f.m.fuel))
	f.emit(0x20, f.count)
	f.out = append(f.out, 0xad, 0x42, 4, 0x88, 0x7d) // i64.extend_i32_u; i64.const 4; i64.shr_u; i64.sub
}

// grow emits a memory.grow and, where it succeeded, takes fuel for the pages: one
// for every BulkPerFuel bytes of them. What fails costs nothing, since guests ask
// for more than there is to learn how much there is.
func (f *function) grow(raw []byte) {
	f.emit(0x22, f.count)
	f.out = append(f.out, raw...)
	f.emit(0x22, f.count+1)
	f.out = append(f.out, 0x41, 0x7f, 0x47, 0x04, 0x40) // i32.const -1; i32.ne; if
	f.emit(0x23, uint32(f.m.fuel))
	f.emit(0x20, f.count)
	f.out = append(f.out, 0xad, 0x42, 12, 0x86, 0x7d) // i64.extend_i32_u; i64.const 12; i64.shl; i64.sub
	f.check()
	f.out = append(f.out, opEnd)
	f.emit(0x20, f.count+1)
}

// deeper emits: depth += by.
func (f *function) deeper(by int32) {
	f.emit(0x23, uint32(f.m.fuel+1))
	f.out = append(appendS32(append(f.out, 0x41), by), 0x6a)
	f.emit(0x24, uint32(f.m.fuel+1))
}

func (f *function) emit(op byte, index uint32) { f.out = appendU32(append(f.out, op), index) }

// blockType is that of a block with the function's results.
func (f *function) blockType(typ uint32) []byte {
	switch results := f.m.p.results[typ]; len(results) {
	case 0:
		return []byte{0x40}
	case 1:
		return results
	default:
		return appendS32(nil, f.m.blockIndex[string(results)])
	}
}
