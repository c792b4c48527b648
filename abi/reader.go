package abi

import (
	"fmt"
	"unicode/utf8"
)

// reader walks the Wasm binary format (WebAssembly core specification 2.0,
// section 5). It fails once: every later read gives zero. Nothing is allocated
// for a length before the bytes are known to be there.
type reader struct {
	b    []byte
	pos  int
	fail *Refusal
}

func (r *reader) refuse(code, format string, args ...any) {
	if r.fail != nil {
		return
	}

	mend := "build the module again; this file is damaged or was made by a broken tool"
	if code == RefusedTruncated {
		mend = "copy or download the file again; its end is missing"
	}

	r.fail = &Refusal{Code: code, Found: fmt.Sprintf(format, args...), Mend: mend}
	r.pos = len(r.b)
}

func (r *reader) left() int { return len(r.b) - r.pos }

func (r *reader) byte() byte {
	if r.left() < 1 {
		r.refuse(RefusedTruncated, "the bytes end at offset %d, inside a structure", r.pos)
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.refuse(RefusedTruncated, "%d bytes are announced at offset %d, %d are there", n, r.pos, r.left())
		return nil
	}
	r.pos += int(n)
	return r.b[r.pos-int(n) : r.pos]
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}

	r.refuse(RefusedMalformed, "a number at offset %d has more than 32 bits", r.pos)
	return 0
}

// s32 reads a signed LEB128 of at most 32 bits.
func (r *reader) s32() int32 {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return int32(v)
		}
	}

	r.refuse(RefusedMalformed, "a number at offset %d has more than 32 bits", r.pos)
	return 0
}

// skipLEB passes over a LEB128 of at most n bytes.
func (r *reader) skipLEB(n int) {
	for range n {
		if r.byte()&0x80 == 0 {
			return
		}
	}
	r.refuse(RefusedMalformed, "a number at offset %d is too long", r.pos)
}

// count reads how many elements follow; each takes at least one byte.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(r.left()) {
		r.refuse(RefusedTruncated, "%d elements are announced at offset %d, %d bytes are there", n, r.pos, r.left())
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.refuse(RefusedMalformed, "a name before offset %d is not UTF-8", r.pos)
		return ""
	}
	return string(b)
}

// constExpr passes over an initialiser.
func (r *reader) constExpr() {
	for r.fail == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x41: // i32.const
			r.skipLEB(5)
		case 0x42: // i64.const
			r.skipLEB(10)
		case 0x43: // f32.const
			r.bytes(4)
		case 0x44: // f64.const
			r.bytes(8)
		case 0x23, 0xd2: // global.get, ref.func
			r.u32()
		case 0xd0: // ref.null
			r.byte()
		case 0xfd: // v128.const
			if r.u32() != 0x0c {
				r.refuse(RefusedMalformed, "a vector instruction in an initialiser at offset %d", r.pos)
			}
			r.bytes(16)

		default:
			if r.fail == nil {
				r.refuse(RefusedFeature, "instruction 0x%02x in an initialiser at offset %d", op, r.pos-1)
				r.fail.Mend = "build without the extended-const feature"
			}
		}
	}
}
