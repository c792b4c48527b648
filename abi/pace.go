package abi

// Fuel is taken for all instructions of a segment before the first of them runs, so
// that instructions which are paid for may run when there is none left: long bodies
// without loops, and what a function does after the calls that it makes. A second
// counter, PaceGlobal, bounds them. Some places take from it what the instructions
// since the last such place may have been, by their weights, on the longest way there,
// and call OutOfFuel where it falls below zero.
//
// function.since is that length. A branch backward does not count: the head of a loop
// takes fuel each time.
const (
	paceInBody     = 1024           // since where there is such a place in a body
	paceBeforeLoop = paceInBody / 2 // since where there is one before a loop, so that a short loop has none
	paceAtEnd      = 192            // since where there is one at the end of a function that calls others
)

// walk follows an instruction that is about to be emitted.
func (f *function) walk(in instr) {
	f.since += weight(in.op)
	if f.since >= paceInBody && in.op != opElse && in.op != opEnd || f.since >= paceBeforeLoop && in.op == opLoop {
		f.pace()
	}

	switch in.op {
	case opElse:
		b := &f.blocks[len(f.blocks)-1]
		b.since, f.since, b.op = max(b.since, f.since), b.began, opElse
	case opEnd:
		b := &f.blocks[len(f.blocks)-1]
		if f.since = max(f.since, b.since); b.op == opIf {
			f.since = max(f.since, b.began)
		}

	case opBrIf:
		f.leads(in.index)
	case opBr:
		f.leads(in.index)
		f.since = 0
	case opReturn:
		f.leads(uint32(len(f.blocks) - 1))
		f.since = 0
	case opTraps:
		f.since = 0
	}
}

// leads notes a branch to a label.
func (f *function) leads(label uint32) {
	if b := &f.blocks[len(f.blocks)-1-int(label)]; b.op != opLoop {
		b.since = max(b.since, f.since)
	}
}

// pace emits: pace -= since; if pace < 0, call OutOfFuel.
func (f *function) pace() {
	pace := uint32(f.m.fuel + 2)
	f.emit(opGlobalGet, pace)
	f.out = append(appendS32(append(f.out, 0x41), int32(f.since)), 0x6b) // i32.const; i32.sub
	f.emit(opGlobalSet, pace)
	f.emit(opGlobalGet, pace)
	f.out = append(f.out, 0x41, 0, 0x48, 0x04, 0x40) // i32.const 0; i32.lt_s; if
	f.emit(opCall, f.m.out)
	f.out = append(f.out, opEnd)
	f.since = 0
}

// weight is about how many simple instructions take as long.
func weight(op uint32) uint32 {
	switch {
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82: // integer division
		return 8
	case op == 0x91, op == 0x95, op == 0x9f, op == 0xa3: // sqrt and div of floats
		return 4
	case op == opCall, op == opCallInd:
		return 4
	case op>>16 == 0xfc && op&0xffff >= 8, op == opMemoryGrow: // bulk
		return 16
	case op>>16 == 0xfd:
		return 4
	}
	return 1
}
