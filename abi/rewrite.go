package abi

import (
	"fmt"
)

// globalPrefix begins the names under which ExportGlobals exports.
const globalPrefix = "__wasmhost_g"

// ExportGlobals returns the module with every mutable global exported under
// names, so that a host can read and set them, and nothing else changed. The
// module must have passed Inspect. When there is nothing to export, out is
// wasm itself.
func ExportGlobals(wasm []byte) (out []byte, names []string, err error) {
	p, refusal := parse(wasm)
	if refusal != nil {
		return nil, nil, refusal
	}
	var added []byte
	for i, g := range p.globals {
		if !g.mutable || g.imported {
			continue
		}
		name := fmt.Sprintf("%s%d", globalPrefix, i)
		names = append(names, name)
		added = appendU32(added, uint32(len(name)))
		added = append(append(added, name...), 3)
		added = appendU32(added, uint32(i))
	}
	if len(names) == 0 {
		return wasm, nil, nil
	}
	// The new export section: the old one's entries, then ours.
	var entries []byte
	cut, resume := p.afterGlob, p.afterGlob
	if p.exportSec.end > 0 {
		r := &reader{b: wasm[:p.exportSec.end], pos: p.exportSec.body}
		r.u32()
		entries = wasm[r.pos:p.exportSec.end]
		cut, resume = p.exportSec.start, p.exportSec.end
	}
	body := appendU32(nil, uint32(len(p.exports)+len(names)))
	body = append(append(body, entries...), added...)
	out = make([]byte, 0, len(wasm)+len(body)+16)
	out = append(out, wasm[:cut]...)
	out = appendU32(append(out, 7), uint32(len(body)))
	out = append(append(out, body...), wasm[resume:]...)
	return out, names, nil
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}
