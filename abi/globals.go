package abi

import (
	"encoding/binary"
	"maps"
	"slices"
)

// addedGlobal is a global that stands for state which an embedder could not
// reach otherwise.
type addedGlobal struct{ encoded []byte }

// addGlobals plans a flag for each segment that can be dropped, and two
// integers for each vector.
func (m *meter) addGlobals() {
	add := func(encoded ...byte) int {
		m.added = append(m.added, addedGlobal{encoded})
		return m.fuel + meterGlobals - 1 + len(m.added)
	}

	flags := func(segments map[uint32]bool) map[uint32]int {
		out := make(map[uint32]int, len(segments))
		for _, s := range slices.Sorted(maps.Keys(segments)) {
			out[s] = add(typeI32, 1, 0x41, 0, 0x0b)
		}
		return out
	}

	m.dataFlags, m.elemFlags = flags(m.survey.droppedData), flags(m.survey.droppedElems)
	m.vectors = make(map[uint32]int)
	for i, g := range m.p.globals {
		if g.vector == nil || !g.mutable || g.exported {
			continue
		}

		half := func(b []byte) int {
			init := appendS64([]byte{typeI64, 1, 0x42}, int64(binary.LittleEndian.Uint64(b)))
			return add(append(init, 0x0b)...)
		}

		m.vectors[uint32(i)] = half(g.vector[:8])
		half(g.vector[8:])
	}
}

// vectorGlobal emits what becomes of a global.get or global.set of a vector;
// false where the instruction stays.
func (f *function) vectorGlobal(in instr) bool {
	low, split := f.m.vectors[in.index]
	if !split {
		return false
	}

	const replaceLane, extractLane, splat = 30, 29, 18 // of i64x2
	if in.op == opGlobalGet {
		f.emit(opGlobalGet, uint32(low))
		f.out = append(f.out, 0xfd, splat)
		f.emit(opGlobalGet, uint32(low+1))
		f.out = append(f.out, 0xfd, replaceLane, 1)
		return true
	}

	f.emit(0x22, f.vector) // local.tee
	f.out = append(f.out, 0xfd, extractLane, 0)
	f.emit(opGlobalSet, uint32(low))
	f.emit(0x20, f.vector) // local.get
	f.out = append(f.out, 0xfd, extractLane, 1)
	f.emit(opGlobalSet, uint32(low+1))
	return true
}

// appendS64 appends a signed LEB128.
func appendS64(b []byte, v int64) []byte {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}
