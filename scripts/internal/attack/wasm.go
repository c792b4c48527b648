package main

import (
	"bytes"
	"encoding/binary"
)

// guest is a module that an attack is made of. Its functions come after its imports;
// the ABI's exports are added by bytes.
type guest struct {
	pages   int      // of memory at the start
	imports []string // of module wasmhost, with the type's index behind: "emit\x04"
	tables  []byte   // the table section's content
	locals  []byte   // of process: the declarations
	process []byte   // the body, without its end; parameters are 0 and 1, the result is 0
	start   []byte   // a body for _initialize, without its end
}

// Indices of the types that every guest has.
const (
	typeNone    = iota // func()
	typeAlloc          // func(i32) -> i32
	typeCall           // func(i32, i32) -> i32
	typeLong           // func() -> i64
	typeEmit           // func(i32, i32)
	typeTimer          // func(i64, i32, i32) -> i64
	typeSend           // func(i32, i32, i32) -> i32
	typeKind           // func() -> i32
	typePublish        // func(i32, i32, i32, i32) -> i32
	typePtr            // func(i32)
	ownTypes
)

var typeBytes = [ownTypes][]byte{
	{0x60, 0, 0}, {0x60, 1, 0x7f, 1, 0x7f}, {0x60, 2, 0x7f, 0x7f, 1, 0x7f}, {0x60, 0, 1, 0x7e}, {0x60, 2, 0x7f, 0x7f, 0},
	{0x60, 3, 0x7e, 0x7f, 0x7f, 1, 0x7e}, {0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f}, {0x60, 0, 1, 0x7f}, {0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f},
	{0x60, 1, 0x7f, 0},
}

// imported says an import of the module wasmhost.
func imported(name string, typ byte) string { return name + string(rune(typ)) }

func (g *guest) bytes() []byte {
	n := len(g.imports)
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items int, content ...[]byte) {
		body := append(uleb(uint64(items)), bytes.Join(content, nil)...)
		out = append(append(append(out, id), uleb(uint64(len(body)))...), body...)
	}

	section(1, len(typeBytes), typeBytes[:]...)
	if n > 0 {
		var list []byte
		for _, im := range g.imports {
			list = join(list, name("wasmhost"), name(im[:len(im)-1]), []byte{0, im[len(im)-1]})
		}
		section(2, n, list)
	}
	funcs := []byte{typeNone, typeAlloc, typeCall, typeNone}
	section(3, len(funcs), funcs)
	if g.tables != nil {
		section(4, 1, g.tables)
	}
	section(5, 1, []byte{0}, uleb(uint64(max(g.pages, 2))))
	section(7, 5, name("memory"), []byte{2, 0}, name("wasmhost_abi_v1"), funcExport(n), name("wasmhost_alloc"), funcExport(n+1),
		name("wasmhost_process"), funcExport(n+2), name("_initialize"), funcExport(n+3))

	bodies := join(body(nil, nil), body(nil, []byte{0x41, 0x80, 0x80, 4}), body(g.locals, g.process), body(nil, g.start))
	section(10, 4, bodies)
	return out
}

func funcExport(i int) []byte { return append([]byte{0}, uleb(uint64(i))...) }

// body is a function's, from its declarations of locals and its instructions.
func body(locals, code []byte) []byte {
	if locals == nil {
		locals = []byte{0}
	}
	b := join(locals, code, []byte{0x0b})
	return join(uleb(uint64(len(b))), b)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func sleb(v int64) (b []byte) {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func name(s string) []byte         { return append(uleb(uint64(len(s))), s...) }
func i32(n int64) []byte           { return append([]byte{0x41}, sleb(n)...) }
func i64(n int64) []byte           { return append([]byte{0x42}, sleb(n)...) }
func call(f int) []byte            { return append([]byte{0x10}, uleb(uint64(f))...) }
func times(n int, b []byte) []byte { return bytes.Repeat(b, n) }

// fill is memory.fill of n bytes from the start.
func fill(n int64) []byte { return join(i32(0), i32(1), i32(n), []byte{0xfc, 11, 0}) }

// ok ends a body of process with success.
var ok = i32(0)
