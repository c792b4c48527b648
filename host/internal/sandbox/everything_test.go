package sandbox

import (
	"encoding/binary"
	"math/rand/v2"

	"wasmhost.example/abi"
)

// What everything does with an event: a byte of these, and two numbers of 32
// bits.
const (
	opNothing = iota
	opGlobalI32
	opGlobalI64
	opGlobalF32
	opGlobalF64
	opGlobalV128
	opGrow
	opTableSet
	opTableGrow
	opCallIndirect
	opDataInit
	opDataDrop
	opElemInit
	opElemDrop
	opStore
	opFill
	opTableFill
	opTableCopy
	opTableSetGlobal
	opExternGrow
	opTrap // from here on they change all they can, and fail
	opFail
	opLoop
	opRecurse
	opBadPointer
	opNoMemory
	opCount
)

// everything is a module that keeps state wherever a module can: memory, also
// grown; globals of each type that are not exported; tables, set, grown, filled
// and copied, with references from segments, code and a global; dropped
// segments. It answers each event with a digest of all that.
func everything() []byte {
	const (
		heap, gI32, gI64, gF32, gF64, gV128, gFunc = 0, 1, 2, 3, 4, 5, 6
		ptr, op, a, b, r                           = 0, 2, 3, 4, 5 // locals of process
		count, digest                              = 0x8000, 0x8100
	)
	m := &assembly{}
	none, oneOne, twoOne := m.typ("", ""), m.typ("i", "i"), m.typ("ii", "i")
	twoNone, noneI64, noneI32 := m.typ("ii", ""), m.typ("", "I"), m.typ("", "i")
	emit, sequence, random := m.imported(abi.ImportEmit, twoNone), m.imported(abi.ImportEventSequence, noneI64), m.imported(abi.ImportRandom, twoNone)

	m.add(4, cat(0x70, 1, 8, 40)...)
	m.add(4, cat(0x6f, 0, 1)...)
	m.add(5, cat(1, 2, 12)...)
	m.add(6, cat(0x7f, 1, i32(0x10000), 0x0b)...)
	m.add(6, cat(0x7f, 1, i32(-5), 0x0b)...)
	m.add(6, cat(0x7e, 1, i64(-1<<40), 0x0b)...)
	m.add(6, cat(0x7d, 1, f32(0.5), 0x0b)...)
	m.add(6, cat(0x7c, 1, f64(-0.25), 0x0b)...)
	m.add(6, cat(0x7b, 1, 0xfd, 12, "0123456789abcdef", 0x0b)...)

	marker := m.fn(none, leb(0))
	alloc := m.fn(oneOne, leb(0), // a bump of the heap, rounded up to 8
		gget(heap), gget(heap), get(0), i32(7), 0x6a, i32(-8), 0x71, 0x6a, gset(heap))
	f0 := m.fn(noneI32, leb(0), i32(count), mem(0x29, 0), 0xa7)
	f1 := m.fn(noneI32, leb(0), gget(gI32), i32(3), 0x6a, gset(gI32), gget(gI32))
	f2 := m.fn(noneI32, leb(0), i32(222))
	start := m.fn(none, leb(0), i32(count), i64(100), mem(0x37, 0), // the image differs from data and segments
		i32(7), refFunc(f1), 0x26, 0, i32(1), 0x40, 0, 0x1a, gget(gI32), i32(1000), 0x6a, gset(gI32))
	m.add(6, cat(0x70, 0, refFunc(f2), 0x0b)...)
	spoil := m.fn(none, leb(0), i32(count), i64(-1), mem(0x37, 0), i32(0x20000), i64(-1), mem(0x37, 0),
		i32(-1), gset(gI32), i64(-1), gset(gI64), f32(-1), gset(gF32), f64(-1), gset(gF64), 0xfd, 12, make([]byte, 16), gset(gV128),
		refFunc(f2), i32(2), 0xfc, 15, 0, 0x1a, 0xd0, 0x6f, i32(1), 0xfc, 15, 1, 0x1a,
		i32(0), refFunc(f0), 0x26, 0, 0xfc, 9, 1, 0xfc, 13, 1, i32(1), 0x40, 0, 0x1a)
	recurse := len(m.items[2]) + len(m.items[3])
	m.fn(none, leb(0), invoke(recurse))

	at := cat(get(a), tsize(0), 0x70) // a % size of the table
	size := cat(0x3f, 0, i32(16), 0x74)
	process := m.fn(twoOne, cat(1, 4, 0x7f),
		get(ptr), mem(0x2d, 0), put(op), get(ptr), mem(0x28, 1), put(a), get(ptr), mem(0x28, 5), put(b),
		i32(count), i32(count), mem(0x29, 0), i64(1), 0x7c, mem(0x37, 0),
		when(op, opGlobalI32, gget(gI32), get(a), 0x6a, gset(gI32)),
		when(op, opGlobalI64, gget(gI64), i64(6364136223846793005), 0x7e, get(a), 0xad, 0x7c, gset(gI64)),
		when(op, opGlobalF32, gget(gF32), f32(0.5), 0x94, get(a), 0xb3, 0x92, gset(gF32)),
		when(op, opGlobalF64, gget(gF64), f64(1.25), 0xa2, get(b), 0xb8, 0xa0, gset(gF64)),
		when(op, opGlobalV128, gget(gV128), get(a), 0xfd, 17, 0xfd, 0xae, 1, gset(gV128)),
		when(op, opGrow, get(a), i32(1), 0x71, 0x40, 0, put(r), size, i32(8), 0x6b, get(b), mem(0x36, 0)),
		when(op, opTableSet, at, get(b), i32(1), 0x71, 0x04, 0x70, refFunc(f0), 0x05, refFunc(f1), 0x0b, 0x26, 0),
		when(op, opTableGrow, refFunc(f2), get(a), i32(3), 0x71, 0xfc, 15, 0, put(r)),
		when(op, opCallIndirect, at, 0x11, noneI32, 0, put(r)),
		when(op, opDataInit, get(a), i32(63), 0x71, i32(0xa000), 0x6a, i32(0), get(b), i32(24), 0x70, 0xfc, 8, 1, 0),
		when(op, opDataDrop, 0xfc, 9, 1),
		when(op, opElemInit, at, i32(0), get(b), i32(5), 0x70, 0xfc, 12, 1, 0),
		when(op, opElemDrop, 0xfc, 13, 1),
		when(op, opStore, get(a), i32(7919), 0x6c, size, 0x70, get(b), mem(0x3a, 0)),
		when(op, opFill, get(a), i32(0x1ffff), 0x71, get(b), get(b), i32(0x3fff), 0x71, 0xfc, 11, 0),
		when(op, opTableFill, at, 0xd0, 0x70, get(b), i32(3), 0x71, 0xfc, 17, 0),
		when(op, opTableCopy, at, get(b), tsize(0), 0x70, i32(2), 0xfc, 14, 0, 0),
		when(op, opTableSetGlobal, at, gget(gFunc), 0x26, 0),
		when(op, opExternGrow, 0xd0, 0x6f, get(a), i32(3), 0x71, 0xfc, 15, 1, put(r)),
		get(op), i32(opTrap), 0x4f, 0x04, 0x40, invoke(spoil), 0x0b,
		when(op, opTrap, 0x00),
		when(op, opLoop, 0x03, 0x40, 0x0c, 0, 0x0b),
		when(op, opRecurse, invoke(recurse)),
		when(op, opBadPointer, i32(-16), i32(32), invoke(emit)),
		when(op, opNoMemory, i32(1000), 0x40, 0, 0x1a, 0x00),
		i32(digest), gget(gI32), mem(0x36, 0),
		i32(digest), gget(gI64), mem(0x37, 8),
		i32(digest), gget(gF32), mem(0x38, 16),
		i32(digest), gget(gF64), mem(0x39, 24),
		i32(digest), gget(gV128), 0xfd, mem(11, 32),
		i32(digest), tsize(0), mem(0x36, 48),
		i32(digest), tsize(1), mem(0x36, 52),
		i32(digest), 0x3f, 0, mem(0x36, 56),
		i32(digest), i32(count), mem(0x29, 0), mem(0x37, 64),
		i32(digest), get(r), mem(0x36, 72),
		i32(digest), invoke(sequence), mem(0x37, 80),
		i32(digest+88), i32(16), invoke(random),
		i32(digest), i32(104), invoke(emit),
		get(op), i32(opFail), 0x46, i32(7), 0x6c)

	m.add(8, leb(start)...)
	m.add(9, cat(0, i32(1), 0x0b, 5, leb(sequence), leb(f0), leb(f1), leb(f1), leb(f0))...)
	m.add(9, cat(5, 0x70, 4, refFunc(f2), 0x0b, 0xd0, 0x70, 0x0b, refFunc(sequence), 0x0b, refFunc(f0), 0x0b)...)
	m.add(12, 2)
	m.add(11, cat(0, i32(0x9000), 0x0b, text("written before the start"))...)
	m.add(11, cat(1, text("kept for memory.init to take"))...)
	m.export(abi.ExportMemory, 2, 0)
	m.export(abi.ExportMarker, 0, marker)
	m.export(abi.ExportAlloc, 0, alloc)
	m.export(abi.ExportProcess, 0, process)
	return m.bytes()
}

// everythingEvent is one for everything: most succeed.
func everythingEvent(r *rand.Rand) []byte {
	op := r.IntN(opTrap)
	switch n := r.IntN(200); {
	case n < 10:
		op = opTrap + r.IntN(opCount-opTrap)
	case (op == opDataDrop || op == opElemDrop) && n < 190:
		op = opNothing
	}
	b := []byte{byte(op)}
	b = binary.LittleEndian.AppendUint32(b, r.Uint32())
	b = binary.LittleEndian.AppendUint32(b, r.Uint32())
	if r.IntN(300) == 0 {
		b = append(b, make([]byte, 500+r.IntN(2000))...) // may take another input buffer
	}
	return b
}

var everythingLimits = Limits{MemoryPages: 10, Fuel: 2 << 20, Wall: 1 << 40, OutputBytes: 1 << 20, OutputCount: 100, LogBytes: 1 << 16}
