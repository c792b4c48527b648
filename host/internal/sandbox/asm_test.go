package sandbox

import (
	"encoding/binary"
	"math"

	"wasmhost.example/abi"
)

// assembly is a module that is being put together, a list of items per section.
type assembly struct{ items [13][][]byte }

// add adds an item to a section and returns its index there.
func (a *assembly) add(section int, item ...byte) int {
	a.items[section] = append(a.items[section], item)
	return len(a.items[section]) - 1
}

func (a *assembly) typ(params, results string) int {
	encode := func(s string) (b []byte) {
		b = leb(len(s))
		for _, c := range s {
			b = append(b, map[rune]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c, 'v': 0x7b}[c])
		}
		return b
	}
	return a.add(1, cat(0x60, encode(params), encode(results))...)
}

// imported adds an import of a host function; fn a function. All imports come
// first.
func (a *assembly) imported(name string, typ int) int {
	return a.add(2, cat(text(abi.ImportModule), text(name), 0, leb(typ))...)
}

func (a *assembly) fn(typ int, locals []byte, body ...any) int {
	a.add(10, vec(cat(locals, cat(body...), 0x0b))...)
	return len(a.items[2]) + a.add(3, leb(typ)...)
}

func (a *assembly) export(name string, kind, index int) {
	a.add(7, cat(text(name), kind, leb(index))...)
}

// bytes assembles. A start function, if any, is the one item of section 8.
func (a *assembly) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11} {
		items := a.items[id]
		if len(items) == 0 {
			continue
		}
		body := leb(len(items))
		if id == 8 || id == 12 {
			body = nil
		}
		for _, item := range items {
			body = append(body, item...)
		}
		out = cat(out, id, vec(body))
	}
	return out
}

// cat joins bytes, given as numbers, strings or slices.
func cat(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func leb(n int) []byte      { return binary.AppendUvarint(nil, uint64(n)) }
func vec(b []byte) []byte   { return cat(leb(len(b)), b) }
func text(s string) []byte  { return vec([]byte(s)) }
func get(local int) []byte  { return cat(0x20, local) }
func put(local int) []byte  { return cat(0x21, local) }
func gget(g int) []byte     { return cat(0x23, g) }
func gset(g int) []byte     { return cat(0x24, g) }
func invoke(f int) []byte   { return cat(0x10, leb(f)) }
func refFunc(f int) []byte  { return cat(0xd2, leb(f)) }
func tsize(t int) []byte    { return cat(0xfc, 16, t) }
func mem(op, at int) []byte { return cat(op, 0, leb(at)) } // a load or store at an offset

func i32(n int) []byte { return cat(0x41, signed(int64(int32(n)))) }
func i64(n int) []byte { return cat(0x42, signed(int64(n))) }

func f32(x float32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{0x43}, math.Float32bits(x))
}

func f64(x float64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0x44}, math.Float64bits(x))
}

func signed(v int64) (b []byte) {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

// when emits: if local op is n, the body.
func when(op, n int, body ...any) []byte {
	return cat(get(op), i32(n), 0x46, 0x04, 0x40, cat(body...), 0x0b)
}
