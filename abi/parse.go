package abi

import (
	"bytes"
	"strings"
)

// parsed is what inspection needs of a module.
type parsed struct {
	sections []section
	types    []string // signatures as in WASIFunctions; other letters for other types
	imports  []Import
	funcs    []uint32 // type index per function, imported ones first
	tables   []table  // imported ones first
	memories []limits // imported ones first
	globals  []global // imported ones first
	exports  []export
	hasStart bool
	start    uint32
	elements []elements
	customs  []string
	foreign  *Foreign // the convention that it says that it follows
	code     int
	counted  bool // has a data count section, without which code may not name data segments
	count    uint32
	data     []data
	results  [][]byte // of each type, as they are encoded
	params   [][]byte
	declared map[uint32]bool // functions that code may refer to by ref.func
	shape    Shape
	bounded  bool // its shape is
}

type section struct {
	id               byte
	start, body, end int
}

type limits struct {
	min, max uint32
	hasMax   bool
	flags    byte
	imported bool
}

type global struct {
	kind     byte // value type
	mutable  bool
	imported bool
	exported bool
	vector   []byte // the 16 bytes it begins with, where it is of type v128 and begins with a constant
}

type table struct {
	limits
	kind byte // of references
}

// elements is an element segment, as far as its mode goes.
type elements struct {
	passive bool
	kind    byte // of references
}

// data is a data segment.
type data struct {
	passive  bool
	constant bool // offset is a constant
	memory   uint32
	offset   uint32
	bytes    []byte
}

type export struct {
	name string
	kind byte // 0 function, 1 table, 2 memory, 3 global, 4 tag
	idx  uint32
}

// parse reads the module's structure. Function bodies, elements and data are
// passed over; the engine validates them.
func parse(wasm []byte) (*parsed, *Refusal) {
	p := &parsed{}
	return p, p.parse(wasm)
}

func (p *parsed) parse(wasm []byte) *Refusal {
	if r := preamble(wasm); r != nil {
		return r
	}

	r := &reader{b: wasm, pos: 8}
	last := -1
	for r.fail == nil && r.left() > 0 {
		s := section{start: r.pos}
		id := r.byte()
		size := r.u32()
		s.body = r.pos
		r.bytes(size)
		if r.fail != nil {
			break
		}

		s.end = r.pos
		if id != 0 {
			o := order(id)
			if o < 0 {
				r.refuse(RefusedMalformed, "unknown section %d at offset %d", id, s.start)
				break
			}
			if o <= last {
				r.refuse(RefusedMalformed, "section %d at offset %d is out of order", id, s.start)
				break
			}

			last = o
		}

		s.id = id
		if id == 0 {
			p.shape.Customs++
			if p.hold(r, boundCustoms, p.shape.Customs); r.fail != nil {
				break
			}
		}

		p.sections = append(p.sections, s)
		sub := &reader{b: wasm[:s.end], pos: s.body}
		p.section(id, sub)
		if sub.fail == nil && id >= 1 && id != 10 && id != 12 && sub.left() != 0 {
			sub.refuse(RefusedMalformed, "section %d at offset %d has bytes to spare", id, s.start)
		}

		r.fail = sub.fail
	}

	s := &p.shape
	s.Types, s.Imports, s.Functions, s.Tables, s.Globals = len(p.types), len(p.imports), len(p.funcs), len(p.tables), len(p.globals)
	s.Exports, s.Elements, s.Data = len(p.exports), len(p.elements), len(p.data)
	return r.fail
}

func preamble(wasm []byte) *Refusal {
	magic := []byte("\x00asm")
	switch {
	case len(wasm) == 0:
		return &Refusal{RefusedNotWasm, "the file is empty", "upload a .wasm file"}
	case len(wasm) < 8 && bytes.HasPrefix(magic, wasm[:min(4, len(wasm))]):
		return &Refusal{RefusedTruncated, "the file ends inside its header", "copy or download the file again; its end is missing"}
	case !bytes.HasPrefix(wasm, magic):
		text := strings.TrimSpace(string(wasm[:min(len(wasm), 64)]))
		if strings.HasPrefix(text, "(module") || strings.HasPrefix(text, ";;") {
			return &Refusal{RefusedNotWasm, "the file is Wasm text, not Wasm binary", "assemble it with wat2wasm first"}
		}
		return &Refusal{RefusedNotWasm, "the file does not begin with the Wasm magic number", "upload a .wasm file"}

	case wasm[6] == 1 && wasm[7] == 0:
		return &Refusal{RefusedComponent, "the file is a component (WASI preview 2), not a core module",
			"build a core module: target wasm32-unknown-unknown or wasm32-wasip1, without the componentize step"}
	case !bytes.Equal(wasm[4:8], []byte{1, 0, 0, 0}):
		return &Refusal{RefusedMalformed, "the file has an unknown Wasm version", "build for version 1 of the binary format"}
	}

	return nil
}

// order is where a section stands in a module; data count comes before code.
func order(id byte) int {
	return bytes.IndexByte([]byte{1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11}, id)
}

func (p *parsed) section(id byte, r *reader) {
	switch id {
	case 0:
		name := p.name(r)
		if p.customs = append(p.customs, name); name == foreignSection {
			p.readConvention(r)
		}

	case 1:
		p.each(r, boundTypes, 0, func() {
			sig, params, results := p.funcType(r)
			p.types, p.params, p.results = append(p.types, sig), append(p.params, params), append(p.results, results)
		})

	case 2:
		p.each(r, boundImports, 0, func() { p.readImport(r) })
	case 3:
		p.each(r, boundFunctions, len(p.funcs), func() { p.funcs = append(p.funcs, r.u32()) })
	case 4:
		p.each(r, boundTables, len(p.tables), func() {
			kind := r.byte()
			t := table{limits: r.limits(), kind: kind}
			p.hold(r, boundTable, int(t.min))
			p.shape.MostTable = max(p.shape.MostTable, int(t.min))
			p.tables = append(p.tables, t)
		})

	case 5:
		r.each(func() { p.memories = append(p.memories, r.limits()) })
	case 6:
		p.each(r, boundGlobals, len(p.globals), func() {
			g := global{kind: r.byte(), mutable: r.byte() == 1}
			start := r.pos
			p.initialiser(r)
			if expr := r.b[start:r.pos]; g.kind == typeV128 && len(expr) == 19 && expr[0] == 0xfd {
				g.vector = expr[2:18]
			}
			p.globals = append(p.globals, g)
		})

	case 7:
		p.each(r, boundExports, 0, func() {
			e := export{name: p.name(r), kind: r.byte(), idx: r.u32()}
			if e.kind == 3 && int64(e.idx) < int64(len(p.globals)) {
				p.globals[e.idx].exported = true
			}

			if e.kind == 0 {
				p.declare(e.idx)
			}

			p.exports = append(p.exports, e)
		})

	case 8:
		p.hasStart, p.start = true, r.u32()
	case 9:
		p.each(r, boundElements, 0, func() { p.readElements(r) })
	case 10:
		p.code = r.count()
	case 11:
		p.each(r, boundData, 0, func() { p.readData(r) })
	case 12:
		p.counted, p.count = true, r.u32()
	case 13:
		r.refuse(RefusedFeature, "the module has a tag section (exception handling)")
		if r.fail != nil {
			r.fail.Mend = "build without exceptions"
		}
	}
}

// initialiser passes over one, which may refer to a function.
func (p *parsed) initialiser(r *reader) {
	start := r.pos
	r.constExpr()
	if r.fail == nil && r.b[start] == opRefFunc {
		p.declare((&reader{b: r.b, pos: start + 1}).u32())
	}
}

func (p *parsed) declare(function uint32) {
	if p.declared == nil {
		p.declared = make(map[uint32]bool)
	}
	p.declared[function] = true
}

func (r *reader) each(f func()) {
	for n := r.count(); n > 0 && r.fail == nil; n-- {
		f()
	}
}

func (p *parsed) readImport(r *reader) {
	im := Import{Module: p.name(r), Name: p.name(r)}
	switch kind := r.byte(); kind {
	case 0:
		im.Kind = "function"
		t := r.u32()
		if r.fail == nil && int64(t) >= int64(len(p.types)) {
			r.refuse(RefusedMalformed, "import %s.%s has type %d of %d", im.Module, im.Name, t, len(p.types))
			return
		}

		if r.fail == nil {
			im.Signature = p.types[t]
		}

		p.funcs = append(p.funcs, t)

	case 1:
		im.Kind = "table"
		t := table{kind: r.byte(), limits: r.limits()}
		t.imported = true
		p.tables = append(p.tables, t)

	case 2:
		im.Kind = "memory"
		l := r.limits()
		l.imported = true
		p.memories = append(p.memories, l)

	case 3:
		im.Kind = "global"
		p.globals = append(p.globals, global{kind: r.byte(), mutable: r.byte() == 1, imported: true})
	default:
		r.refuse(RefusedFeature, "import %s.%s is of kind %d", im.Module, im.Name, kind)
		return
	}

	p.imports = append(p.imports, im)
}

func (p *parsed) readElements(r *reader) {
	e := elements{kind: typeFuncref}
	flags := r.u32()
	if flags > 7 {
		r.refuse(RefusedMalformed, "an element segment with flags %d", flags)
		return
	}

	e.passive = flags&1 != 0
	if !e.passive {
		if flags&2 != 0 {
			r.u32()
		}
		r.constExpr()
	}

	if flags&3 != 0 { // an element kind, or a reference type
		if kind := r.byte(); flags&4 != 0 {
			e.kind = kind
		}
	}

	p.each(r, boundItems, p.shape.Items, func() {
		p.shape.Items++
		if flags&4 != 0 {
			p.initialiser(r)
		} else {
			p.declare(r.u32())
		}
	})

	p.elements = append(p.elements, e)
}

func (p *parsed) readData(r *reader) {
	var d data
	switch flags := r.u32(); flags {
	case 1:
		d.passive = true
	case 0, 2:
		if flags == 2 {
			d.memory = r.u32()
		}

		start := r.pos
		r.constExpr()
		if expr := r.b[start:r.pos]; len(expr) > 2 && expr[0] == 0x41 {
			c := &reader{b: expr, pos: 1}
			d.offset, d.constant = uint32(c.s32()), c.left() == 1
		}

	default:
		r.refuse(RefusedMalformed, "a data segment with flags %d", flags)
		return
	}

	d.bytes = r.bytes(r.u32())
	p.data = append(p.data, d)
}

func (r *reader) limits() limits {
	l := limits{flags: r.byte()}
	if l.flags > 3 {
		r.refuse(RefusedFeature, "a memory or table with flags %#x (memory64, or a custom page size)", l.flags)
		if r.fail != nil {
			r.fail.Mend = "build for wasm32"
		}
		return l
	}

	l.min = r.u32()
	if l.hasMax = l.flags&1 != 0; l.hasMax {
		l.max = r.u32()
	}
	return l
}

// funcType reads a function type as a signature; as encoded, too.
func (p *parsed) funcType(r *reader) (signature string, params, results []byte) {
	if f := r.byte(); f != 0x60 {
		r.refuse(RefusedFeature, "a type of form 0x%02x (garbage-collected types)", f)
		return "", nil, nil
	}

	var sig strings.Builder
	n := r.count()
	p.hold(r, boundParams, n)
	params = r.bytes(uint32(n))
	for _, t := range params {
		sig.WriteByte(letter(t))
	}

	sig.WriteByte(':')
	n = r.count()
	p.hold(r, boundResults, n)
	results = r.bytes(uint32(n))
	for _, t := range results {
		sig.WriteByte(letter(t))
	}

	p.shape.MostParams, p.shape.MostResults = max(p.shape.MostParams, len(params)), max(p.shape.MostResults, len(results))
	return sig.String(), params, results
}

// Value types, as they are encoded.
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
)

func letter(valueType byte) byte {
	switch valueType {
	case typeI32:
		return 'i'
	case typeI64:
		return 'I'
	case typeF32:
		return 'f'
	case typeF64:
		return 'F'
	case typeV128:
		return 'v'
	default:
		return 'r'
	}
}

// funcSignature returns the signature of function idx.
func (p *parsed) funcSignature(idx uint32) (string, bool) {
	if int64(idx) >= int64(len(p.funcs)) || int64(p.funcs[idx]) >= int64(len(p.types)) {
		return "", false
	}
	return p.types[p.funcs[idx]], true
}
