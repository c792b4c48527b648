package abi

// usage is what a function's body asks of its rewriting.
type usage uint8

const (
	usesCalls    usage = 1 << iota // calls others
	usesBulk                       // bulk instructions, whose cost is known only when they run
	usesSegments                   // takes from a segment that may have been dropped
	usesVectors                    // sets a vector global
	usesGrow                       // grows the memory
)

// counts is how many scratch locals of type i32 the rewriting takes.
func (u usage) counts() byte {
	switch {
	case u&usesSegments != 0:
		return 3
	case u&usesGrow != 0:
		return 2
	case u&usesBulk != 0:
		return 1
	}
	return 0
}

// survey is what all bodies of a module ask, found before anything is written.
type survey struct {
	functions    []usage
	droppedData  map[uint32]bool // passive segments that a data.drop names
	droppedElems map[uint32]bool
	data         bool // some code names a data segment
	tables       bool // a table is changed after it is made
	tableGrow    bool
	refs         bool            // some code makes a reference to a function
	fills        bool            // some code has memory.fill
	copies       bool            // some code has memory.copy
	inits        map[uint32]bool // data segments that a memory.init names
	fail         *Refusal
}

// survey looks at every body. Nothing is refused here that the rewriting would
// not refuse with a better place to name.
func (p *parsed) survey(code []byte) *survey {
	s := &survey{droppedData: make(map[uint32]bool), droppedElems: make(map[uint32]bool), inits: make(map[uint32]bool)}
	r, shape := &reader{b: code}, &bodyShape{}
	imported := p.importedFuncs()
	r.each(func() {
		body := r.bytes(r.u32())
		params, results := p.funcArity(imported + len(s.functions))
		shape.begin(params, results)
		s.functions = append(s.functions, s.body(p, &reader{b: body}, shape))
		if p.shape.add(shape, len(body)); p.bounded && r.fail == nil {
			r.fail = p.shape.holdBody(shape, len(body), imported+len(s.functions)-1)
		}
	})

	s.fail = r.fail
	return s
}

func (s *survey) body(p *parsed, r *reader, shape *bodyShape) (u usage) {
	r.each(func() {
		shape.declare(r.u32())
		r.byte()
	})

	all := ^uint32(0)
	b := &bounds{funcs: all, types: all, locals: all, globals: all, labels: all}
	for r.left() > 0 && r.fail == nil {
		start := r.pos
		in := r.instr(b)
		shape.see(p, in, r.b[start:r.pos])

		switch in.op {
		case opCall, opCallInd:
			u |= usesCalls
		case opMemoryInit:
			s.data = true
			s.inits[in.index] = true
			u |= usesBulk | usesSegments

		case opTableInit:
			s.tables = true
			u |= usesBulk | usesSegments
		case opMemoryCopy:
			s.copies = true
			u |= usesBulk
		case opMemoryFill:
			s.fills = true
			u |= usesBulk
		case opMemoryGrow:
			u |= usesGrow
		case opRefFunc:
			s.refs = true
		case opTableSet:
			s.tables = true
		case opTableGrow:
			s.tables, s.tableGrow = true, true
			u |= usesBulk
		case opTableCopy, opTableFill:
			s.tables = true
			u |= usesBulk
		case opDataDrop:
			s.data = true
			if p.counted && int64(in.index) < int64(len(p.data)) && p.data[in.index].passive {
				s.droppedData[in.index] = true
			}

		case opElemDrop:
			if int64(in.index) < int64(len(p.elements)) && p.elements[in.index].passive {
				s.droppedElems[in.index] = true
			}

		case opGlobalSet:
			u |= usesVectors // where the global is split, which is seen when it is written
		}
	}

	if r.fail != nil {
		s.fail = r.fail
	}
	return u
}
