package abi

// Shape is what decides how dear a module is to compile. Compilers are not
// linear: a function of twice the loops takes more than twice the time. Fields
// that begin with Most are of one function, type, table or name: the largest.
type Shape struct {
	Types, Imports, Functions, Tables, Globals, Exports int
	Elements, Items                                     int // element segments, and what they list together
	Data, Customs                                       int // data segments, custom sections
	MostParams, MostResults                             int // of a type
	MostName                                            int // bytes
	MostTable                                           int // elements that a table begins with

	MostBody    int // bytes
	MostLocals  int // parameters included
	MostNesting int // blocks that are open at a time
	MostLoops   int
	MostBlocks  int // basic blocks: 1 for a block, 2 for a br_if, 3 for an if or a bulk instruction, 6 for a loop or memory.grow
	MostTargets int // of a function's br_tables together
	MostHeavy   int // instructions that become many: 1 for a load, store or call, 2 for a conversion that traps, 4 for an indirect call, memory.grow or a bulk instruction
	MostValues  int // that a function's blocks, branches and calls pass on
	MostJoins   int // locals × basic blocks
	MostChurn   int // locals × loops, each loop counted as often as it is nested

	Squares int // of basic blocks: of all functions
	Values  int // of all functions
	Joins   int // of all functions
	Churn   int // of all functions
}

// Measure returns the shape of a module, whatever its bounds. The error is a
// *Refusal of one that cannot be read.
func Measure(wasm []byte) (Shape, error) {
	p := &parsed{}
	if r := p.parse(wasm); r != nil {
		return p.shape, r
	}
	if s := p.survey(p.bodies(wasm)); s.fail != nil {
		return p.shape, s.fail
	}
	return p.shape, nil
}

// bodyShape measures one function.
type bodyShape struct {
	locals, loops, blocks, targets, heavy, values, nesting int

	depths int         // of its loops, together
	open   int         // loops
	labels []openBlock // the function's own first
}

type openBlock struct {
	loop   bool
	values int // that a branch to it passes on
}

func (b *bodyShape) begin(params, results int) {
	*b = bodyShape{locals: params, labels: append(b.labels[:0], openBlock{values: results})}
}

func (b *bodyShape) declare(locals uint32) {
	b.locals = min(b.locals+int(locals), 1<<24) // products of it stay within an int
}

// see takes one instruction. raw are its bytes.
func (b *bodyShape) see(p *parsed, in instr, raw []byte) {
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		params, results := p.blockArity(raw[1:])
		b.values += params + results
		label := openBlock{values: results}

		switch op {
		case opBlock:
			b.blocks++
		case opIf:
			b.blocks += 3
		case opLoop:
			label = openBlock{loop: true, values: params} // a branch to it goes to its head
			b.blocks += 6
			b.loops++
			b.open++
			b.depths += b.open
		}

		b.labels = append(b.labels, label)
		b.nesting = max(b.nesting, len(b.labels)-1)

	case op == opEnd:
		last := max(len(b.labels)-1, 0)
		if last < len(b.labels) && b.labels[last].loop {
			b.open--
		}
		b.labels = b.labels[:last]

	case op == opBr:
		b.values += b.label(in.index)
	case op == opBrIf:
		b.blocks += 2
		b.values += b.label(in.index)
	case op == opBrTable:
		r := &reader{b: raw, pos: 1}
		for n := r.count(); n >= 0 && r.fail == nil; n-- {
			b.targets++
			b.values += b.label(r.u32())
		}

	case op == opCall:
		b.heavy++
		if int64(in.index) < int64(len(p.funcs)) {
			b.values += p.arity(p.funcs[in.index])
		}

	case op == opCallInd:
		b.heavy += 4
		b.values += p.arity((&reader{b: raw, pos: 1}).u32())
	case op >= 0x28 && op <= 0x3e, op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82: // loads, stores, divisions
		b.heavy++
	case op >= 0xa8 && op <= 0xab, op >= 0xae && op <= 0xb1: // conversions that trap
		b.heavy += 2
	case op == opTableGet, op == opTableSet:
		b.heavy += 2
	case op == opMemoryGrow: // Rewrite pays for it in six blocks
		b.heavy += 4
		b.blocks += 6
	case op>>16 == 0xfc && op&0xffff >= 8: // a bulk instruction: Rewrite pays for it in three
		b.heavy += 4
		b.blocks += 3
	case op>>16 == 0xfc:
		b.heavy += 4
	case op>>16 == 0xfd:
		b.heavy++
	}
}

func (b *bodyShape) label(depth uint32) int {
	if int64(depth) >= int64(len(b.labels)) {
		return 0
	}
	return b.labels[len(b.labels)-1-int(depth)].values
}

// arity returns the parameters and results of a type together.
func (p *parsed) arity(t uint32) int {
	if int64(t) >= int64(len(p.types)) {
		return 0
	}
	return len(p.params[t]) + len(p.results[t])
}

// importedFuncs returns how many of the functions are imported: they come first.
func (p *parsed) importedFuncs() int {
	n := 0
	for _, im := range p.imports {
		if im.Kind == "function" {
			n++
		}
	}
	return n
}

// funcArity returns the parameters and results of a function.
func (p *parsed) funcArity(i int) (params, results int) {
	if i >= len(p.funcs) || int64(p.funcs[i]) >= int64(len(p.types)) {
		return 0, 0
	}
	return len(p.params[p.funcs[i]]), len(p.results[p.funcs[i]])
}

// blockArity returns those of a block.
func (p *parsed) blockArity(raw []byte) (params, results int) {
	r := &reader{b: raw}
	switch t := r.s32(); {
	case r.fail != nil:
		return 0, 0
	case t >= 0 && int64(t) < int64(len(p.types)):
		return len(p.params[t]), len(p.results[t])
	case t == -64:
		return 0, 0
	}

	return 0, 1
}

// add takes a function that was measured, of so many bytes.
func (s *Shape) add(b *bodyShape, bytes int) {
	most := func(to *int, n int) { *to = max(*to, n) }
	joins, churn := b.locals*b.blocks, b.locals*b.depths
	most(&s.MostBody, bytes)
	most(&s.MostLocals, b.locals)
	most(&s.MostNesting, b.nesting)
	most(&s.MostLoops, b.loops)
	most(&s.MostBlocks, b.blocks)
	most(&s.MostTargets, b.targets)
	most(&s.MostHeavy, b.heavy)
	most(&s.MostValues, b.values)
	most(&s.MostJoins, joins)
	most(&s.MostChurn, churn)
	s.Squares += b.blocks * b.blocks
	s.Values += b.values
	s.Joins += joins
	s.Churn += churn
}

// Work estimates how long an engine takes to compile a module of that shape and
// size, in nanoseconds of one core of 2020 or so: at least half of what the
// dearest modules take, and for most modules several times what they do.
func (s *Shape) Work(bytes int64) int64 {
	const perByte, perFunction, perSquare, perValue, perJoin, perChurn = 4_000, 20_000, 8, 1_500, 500, 400
	return perByte*bytes + perFunction*int64(s.Functions) + perSquare*int64(s.Squares) +
		perValue*int64(s.Values) + perJoin*int64(s.Joins) + perChurn*int64(s.Churn)
}
