package abi

import "fmt"

// image fills what a fresh memory is made of.
func (out *Rewritten) image(p *parsed) *Refusal {
	for _, m := range p.memories {
		if m.imported {
			return &Refusal{RefusedImport, "the module imports its memory", "define it in the module"}
		}
	}

	if what := p.invalid(); what != "" {
		return &Refusal{RefusedInvalid, what, "build it again with a current toolchain"}
	}

	for _, d := range p.data {
		if d.passive {
			continue
		}
		if !d.constant {
			return &Refusal{RefusedFeature, "a data segment has an offset that is no constant", "link the module statically"}
		}
		out.Data = append(out.Data, Segment{Offset: d.offset, Bytes: d.bytes})
	}

	out.Start = p.hasStart
	return nil
}

// invalid says what an engine would refuse, were it not taken out.
func (p *parsed) invalid() string {
	for _, m := range p.memories {
		if m.hasMax && (m.min > m.max || m.max > 1<<16) {
			return fmt.Sprintf("a memory of %d to %d pages", m.min, m.max)
		}
	}

	for i, d := range p.data {
		if !d.passive && int64(d.memory) >= int64(len(p.memories)) {
			return fmt.Sprintf("data segment %d is for memory %d of %d", i, d.memory, len(p.memories))
		}
	}

	if p.counted && int64(p.count) != int64(len(p.data)) {
		return fmt.Sprintf("%d data segments, of %d that it counts", len(p.data), p.count)
	}
	return ""
}

// memories copies the memory section; for a host that makes memories itself,
// without a maximum: the host keeps to it.
func (m *meter) memories(r *reader) []byte {
	n := r.count()
	out := appendU32(nil, uint32(n))
	for range n {
		l := r.limits()
		if m.capture {
			out = appendU32(append(out, l.flags&^1), l.min)
			continue
		}
		out = appendLimits(out, l.flags, l)
	}

	return out
}

func appendLimits(out []byte, flags byte, l limits) []byte {
	out = appendU32(append(out, flags), l.min)
	if flags&1 != 0 {
		out = appendU32(out, l.max)
	}
	return out
}

// Where a passive segment is dropped by some code, a flag says that it was, and
// an empty segment stands in for it: what is left of a dropped segment is one
// of no length.

// emptyData is how many data segments are added.
func (m *meter) emptyData() int { return min(len(m.dataFlags), 1) }

// dataCount is what a data count section says.
func (m *meter) dataCount(n uint32) uint32 {
	if m.capture && !m.survey.data {
		return 0
	}
	return n + uint32(m.emptyData())
}

// data copies the data segments. Of the active ones that are taken out an
// empty one stays where code knows segments by their index: once an instance is
// made, an active segment has no length anyhow.
func (m *meter) data(r *reader) []byte {
	if !m.capture {
		out := m.appended(r, m.emptyData())
		return append(out, []byte{1, 0}[:2*m.emptyData()]...)
	}

	r.pos = len(r.b)
	if !m.survey.data {
		return []byte{0}
	}

	out := appendU32(nil, uint32(len(m.p.data)+m.emptyData()))
	for _, d := range m.p.data {
		if d.passive {
			out = append(appendU32(append(out, 1), uint32(len(d.bytes))), d.bytes...)
		} else {
			out = append(out, 0, 0x41, 0, opEnd, 0) // active, at 0, of no length
		}
	}

	return append(out, []byte{1, 0}[:2*m.emptyData()]...)
}

// addedElements is how many element segments are added.
func (m *meter) addedElements() int {
	n := 2 * min(len(m.elemFlags), 1)
	if m.functions {
		n++
	}
	return n
}

func (m *meter) moreElements(out []byte) []byte {
	if len(m.elemFlags) > 0 {
		out = append(out, 1, 0, 0, 5, typeExternref, 0) // passive, empty: one of each kind
	}

	if !m.functions {
		return out
	}

	out = append(appendU32(append(out, 2), uint32(len(m.p.tables))), 0x41, 0, opEnd, 0)
	out = appendU32(out, uint32(len(m.p.funcs)))
	for i := range m.p.funcs {
		out = appendU32(out, m.shift(uint32(i)))
	}
	return out
}

// drop emits what becomes of data.drop and elem.drop; false where it stays.
func (f *function) drop(in instr) bool {
	flags := f.m.dataFlags
	if in.op == opElemDrop {
		flags = f.m.elemFlags
	}

	flag, ok := flags[in.index]
	if !ok {
		return false
	}

	f.out = append(f.out, 0x41, 1) // i32.const 1
	f.emit(opGlobalSet, uint32(flag))
	return true
}

// fromSegment emits what becomes of memory.init and table.init; false where it
// stays. Destination, source and length are on the stack.
func (f *function) fromSegment(in instr, raw []byte) bool {
	r := &reader{b: raw, pos: 1}
	op := r.u32()
	r.u32()
	flag, empty, ok := 0, uint32(len(f.m.p.data)), false

	if in.op == opMemoryInit {
		flag, ok = f.m.dataFlags[in.index]
	} else if flag, ok = f.m.elemFlags[in.index]; ok {
		empty = uint32(len(f.m.p.elements))
		if f.m.p.elements[in.index].kind == typeExternref {
			empty++
		}
	}

	if !ok {
		return false
	}

	f.payBulk()
	f.check()
	for k := range uint32(3) {
		f.emit(0x21, f.count+k) // local.set
	}

	operands := func() {
		for k := range uint32(3) {
			f.emit(0x20, f.count+2-k) // local.get
		}
	}

	f.emit(opGlobalGet, uint32(flag))
	f.out = append(f.out, opIf, 0x40)
	operands()
	f.out = append(appendU32(appendU32(append(f.out, 0xfc), op), empty), raw[r.pos:]...)
	f.out = append(f.out, opElse)
	operands()
	f.move(in, raw)
	f.out = append(f.out, opEnd)
	return true
}
