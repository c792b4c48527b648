package abi

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// daemonOf makes a module that follows the contract, with parts of the test's.
type daemonOf struct {
	types    []string // beyond the first three: func(), func(i32) i32, func(i32 i32) i32
	body     string   // of wasmhost_process, whose type is the third, without its end
	locals   string   // declarations; empty: none
	more     []string // bodies of functions of the first type
	sections map[byte]string
	exports  int // beyond those of the contract
}

func vec(parts ...string) string {
	return string(appendU32(nil, uint32(len(parts)))) + strings.Join(parts, "")
}
func sized(s string) string { return string(appendU32(nil, uint32(len(s)))) + s }

func (d daemonOf) bytes() []byte {
	locals := d.locals
	if locals == "" {
		locals = "\x00"
	}
	types := append([]string{"\x60\x00\x00", "\x60\x01\x7f\x01\x7f", "\x60\x02\x7f\x7f\x01\x7f"}, d.types...)
	funcs := []string{"\x00", "\x01", "\x02"}
	code := []string{sized("\x00\x0b"), sized("\x00\x41\x00\x0b"), sized(locals + d.body + "\x41\x00\x0b")}
	for _, b := range d.more {
		funcs, code = append(funcs, "\x00"), append(code, sized(b))
	}
	exports := []string{sized("memory") + "\x02\x00", sized(ExportMarker) + "\x00\x00", sized(ExportAlloc) + "\x00\x01", sized(ExportProcess) + "\x00\x02"}
	for i := range d.exports {
		exports = append(exports, sized(fmt.Sprintf("x%d", i))+"\x00\x00")
	}
	sections := map[byte]string{1: vec(types...), 3: vec(funcs...), 5: "\x01\x00\x01", 7: vec(exports...), 10: vec(code...)}
	for id, s := range d.sections {
		sections[id] = s
	}
	var out bytes.Buffer
	out.WriteString("\x00asm\x01\x00\x00\x00")
	for _, id := range []byte{1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11} {
		if s, ok := sections[id]; ok {
			out.WriteByte(id)
			out.WriteString(sized(s))
		}
	}
	return out.Bytes()
}

func manyTimes(s string, n int) string { return strings.Repeat(s, n) }

func tableOf(targets int) string {
	return "\x02\x40\x20\x00\x0e" + string(appendU32(nil, uint32(targets))) + manyTimes("\x00", targets+1) + "\x0b"
}

// ifsOf is so many ifs that set one of so many locals each.
func ifsOf(ifs, locals int) string {
	var b []byte
	for i := range ifs {
		b = append(b, "\x20\x00\x04\x40\x41\x01\x21"...)
		b = append(appendU32(b, uint32(2+i%locals)), 0x0b)
	}
	return string(b)
}

func localsOf(n int) string { return "\x01" + string(appendU32(nil, uint32(n))) + "\x7f" }

// TestShapeBounds refuses what takes a compiler long, by the name of its bound
// and with both numbers, and lets pass what is just within.
func TestShapeBounds(t *testing.T) {
	empty := "\x00\x0b"
	tests := []struct {
		code  string
		found int // in the text; 0: not looked at
		bad   daemonOf
		good  *daemonOf
	}{
		{code: RefusedTargets, found: 300_001, bad: daemonOf{body: tableOf(300_000)}, good: &daemonOf{body: tableOf(boundTargets.Limit - 1)}},
		{code: RefusedTargets, found: 17_017, bad: daemonOf{body: manyTimes(tableOf(1000), 17)}, good: &daemonOf{body: manyTimes(tableOf(999), 16)}},
		{code: RefusedLoops, found: 20_000, bad: daemonOf{body: manyTimes("\x03\x40\x0b", 20_000)}, good: &daemonOf{body: manyTimes("\x03\x40\x0b", boundLoops.Limit)}},
		{code: RefusedBody, bad: daemonOf{body: manyTimes("\x41\x01\x1a", 2_000_000)}, good: &daemonOf{body: manyTimes("\x41\x01\x1a", 600_000)}},
		{code: RefusedJoins, found: 15_000 * 1502, bad: daemonOf{locals: localsOf(1500), body: ifsOf(5000, 1000)}, good: &daemonOf{locals: localsOf(1000), body: ifsOf(5000, 1000)}},
		{code: RefusedLocals, found: 20_002, bad: daemonOf{locals: localsOf(20_000)}, good: &daemonOf{locals: localsOf(boundLocals.Limit - 2)}},
		{code: RefusedNesting, found: 10_000, bad: daemonOf{body: manyTimes("\x02\x40", 10_000) + manyTimes("\x0b", 10_000)}, good: &daemonOf{body: manyTimes("\x02\x40", 8_000) + manyTimes("\x0b", 8_000)}},
		{code: RefusedBlocks, found: 60_000, bad: daemonOf{body: manyTimes("\x20\x00\x04\x40\x0b", 20_000)}, good: &daemonOf{body: manyTimes("\x20\x00\x04\x40\x0b", 16_000)}},
		{code: RefusedChurn, bad: daemonOf{locals: localsOf(998), body: manyTimes("\x03\x40", 100) + manyTimes("\x0b", 100)}, good: &daemonOf{locals: localsOf(400), body: manyTimes("\x03\x40", 100) + manyTimes("\x0b", 100)}},
		{code: RefusedHeavy, found: 120_001, bad: daemonOf{body: manyTimes("\x10\x00", 120_001)}, good: &daemonOf{body: manyTimes("\x10\x00", 120_000)}},
		{code: RefusedHeavy, found: 120_004, bad: daemonOf{body: manyTimes("\x41\x00\x11\x00\x00", 30_001), sections: map[byte]string{4: "\x01\x70\x00\x01"}}},
		{code: RefusedValues, bad: daemonOf{types: []string{"\x60\x00" + sized(manyTimes("\x7f", 64))}, body: manyTimes("\x02\x03"+manyTimes("\x41\x00", 64)+"\x0b"+manyTimes("\x1a", 64), 2_000)}},
		{code: RefusedSquares, bad: daemonOf{more: bodies(5, "\x00"+manyTimes("\x41\x00\x04\x40\x0b", 10_000)+"\x0b")}, good: &daemonOf{more: bodies(4, "\x00"+manyTimes("\x41\x00\x04\x40\x0b", 10_000)+"\x0b")}},
		{code: RefusedAllChurn, bad: daemonOf{more: bodies(5, localsOf(400)+manyTimes("\x03\x40", 110)+manyTimes("\x0b", 110)+"\x0b")}},
		{code: RefusedAllJoins, bad: daemonOf{more: bodies(7, localsOf(4_000)+manyTimes("\x02\x40\x0b", 5_000)+"\x0b")}},
		{code: RefusedAllValues, bad: daemonOf{types: []string{"\x60\x00" + sized(manyTimes("\x7f", 64))}, more: bodies(80, "\x00"+manyTimes("\x02\x03"+manyTimes("\x41\x00", 64)+"\x0b"+manyTimes("\x1a", 64), 1_000)+"\x0b")}},
		{code: RefusedFunctions, found: 250_001, bad: daemonOf{more: bodies(249_998, empty)}, good: &daemonOf{more: bodies(249_997, empty)}},
		{code: RefusedTypes, found: 5_001, bad: daemonOf{types: bodies(4_998, "\x60\x00\x00")}, good: &daemonOf{types: bodies(4_997, "\x60\x00\x00")}},
		{code: RefusedParams, found: 257, bad: daemonOf{types: []string{"\x60" + sized(manyTimes("\x7f", 257)) + "\x00"}}, good: &daemonOf{types: []string{"\x60" + sized(manyTimes("\x7f", 256)) + "\x00"}}},
		{code: RefusedResults, found: 65, bad: daemonOf{types: []string{"\x60\x00" + sized(manyTimes("\x7f", 65))}}, good: &daemonOf{types: []string{"\x60\x00" + sized(manyTimes("\x7f", 64))}}},
		{code: RefusedGlobals, found: 65_001, bad: daemonOf{sections: map[byte]string{6: vec(bodies(65_001, "\x7f\x00\x41\x00\x0b")...)}}, good: &daemonOf{sections: map[byte]string{6: vec(bodies(65_000, "\x7f\x00\x41\x00\x0b")...)}}},
		{code: RefusedExports, found: 200_005, bad: daemonOf{exports: 200_001}, good: &daemonOf{exports: 100_000}},
		{code: RefusedImports, found: 2_001, bad: daemonOf{sections: map[byte]string{2: vec(bodies(2_001, sized("wasmhost")+sized("fail")+"\x00\x00")...)}}},
		{code: RefusedTables, found: 65, bad: daemonOf{sections: map[byte]string{4: vec(bodies(65, "\x70\x00\x01")...)}}, good: &daemonOf{sections: map[byte]string{4: vec(bodies(64, "\x70\x00\x01")...)}}},
		{code: RefusedTable, found: 1<<20 + 1, bad: daemonOf{sections: map[byte]string{4: vec("\x70\x00" + string(appendU32(nil, 1<<20+1)))}}},
		{code: RefusedElements, found: 10_001, bad: daemonOf{sections: map[byte]string{9: vec(bodies(10_001, "\x01\x00\x00")...)}}, good: &daemonOf{sections: map[byte]string{9: vec(bodies(10_000, "\x01\x00\x00")...)}}},
		{code: RefusedItems, found: 1<<20 + 1, bad: daemonOf{sections: map[byte]string{9: vec("\x01\x00" + string(appendU32(nil, 1<<20+1)) + manyTimes("\x00", 1<<20+1))}}},
		{code: RefusedItems, bad: daemonOf{sections: map[byte]string{9: vec(bodies(20, "\x01\x00"+string(appendU32(nil, 60_000))+manyTimes("\x00", 60_000))...)}}},
		{code: RefusedData, found: 250_001, bad: daemonOf{sections: map[byte]string{11: vec(bodies(250_001, "\x01\x00")...)}}, good: &daemonOf{sections: map[byte]string{11: vec(bodies(250_000, "\x01\x00")...)}}},
		{code: RefusedName, found: 4_097, bad: daemonOf{sections: map[byte]string{7: vec(sized(manyTimes("n", 4_097)) + "\x00\x00")}}},
	}
	seen := make(map[string]bool)
	for _, tt := range tests {
		seen[tt.code] = true
		wasm := tt.bad.bytes()
		_, err := Inspect(wasm, Limits{Shape: true})
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != tt.code {
			t.Errorf("a module over %s: %v", tt.code, err)
			continue
		}
		if tt.found > 0 && !strings.Contains(refusal.Found, strconv.Itoa(tt.found)+" ") {
			t.Errorf("%s: %q does not say %d", tt.code, refusal.Found, tt.found)
		}
		limit := boundOf(t, tt.code).Limit
		if !strings.Contains(refusal.Found, "the limit is "+strconv.Itoa(limit)) || refusal.Mend == "" {
			t.Errorf("%s: %q does not say the limit, %d", tt.code, refusal.Found, limit)
		}
		if _, err := Inspect(wasm, Limits{}); errors.As(err, &refusal) && strings.HasPrefix(refusal.Code, "shape-") {
			t.Errorf("%s: a module whose shape is not bounded: %v", tt.code, err)
		}
		if tt.good == nil {
			continue
		}
		if _, err := Inspect(tt.good.bytes(), Limits{Shape: true}); err != nil {
			t.Errorf("a module within %s: %v", tt.code, err)
		}
	}
	custom := daemonOf{}.bytes()
	custom = append(custom, manyTimes("\x00\x02\x01c", 257)...)
	var refusal *Refusal
	if _, err := Inspect(custom, Limits{Shape: true}); !errors.As(err, &refusal) || refusal.Code != RefusedCustoms {
		t.Errorf("a module of 257 custom sections: %v", err)
	}
	seen[RefusedCustoms] = true
	for _, b := range Bounds {
		if !seen[b.Code] {
			t.Errorf("no module of this test goes over %s", b.Code)
		}
	}
}

func bodies(n int, s string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func boundOf(t *testing.T, code string) *Bound {
	for _, b := range Bounds {
		if b.Code == code {
			return b
		}
	}
	t.Fatalf("no bound has the code %s", code)
	return nil
}

// TestSpecSaysBounds holds the table of SPEC.md against the bounds.
func TestSpecSaysBounds(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(shape-[a-z-]+)` \\| .* \\| ([0-9,]+) \\|$").FindAllStringSubmatch(string(spec), -1) {
		said[m[1]] = strings.ReplaceAll(m[2], ",", "")
	}
	for _, b := range Bounds {
		if said[b.Code] != strconv.Itoa(b.Limit) {
			t.Errorf("SPEC.md says %q for %s, the bound is %d", said[b.Code], b.Code, b.Limit)
		}
	}
	if len(said) != len(Bounds) {
		t.Errorf("SPEC.md has %d bounds, there are %d", len(said), len(Bounds))
	}
}

// What Rewrite adds to pay for an instruction counts as blocks.
func TestWhatIsPaidForCountsAsBlocks(t *testing.T) {
	for name, one := range map[string]string{
		"memory.grow": "\x41\x00\x40\x00\x1a",
		"memory.fill": "\x41\x00\x41\x00\x41\x00\xfc\x0b\x00",
		"memory.copy": "\x41\x00\x41\x00\x41\x00\xfc\x0a\x00\x00",
		"table.fill":  "\x41\x00\xd0\x70\x41\x00\xfc\x11\x00",
		"table.grow":  "\xd0\x70\x41\x00\xfc\x0f\x00\x1a",
		"table.copy":  "\x41\x00\x41\x00\x41\x00\xfc\x0e\x00\x00",
	} {
		wasm := daemonOf{body: manyTimes(one, 500), sections: map[byte]string{4: "\x01\x70\x00\x01"}}.bytes()
		counted, err := Measure(wasm)
		if err != nil {
			t.Fatal(name, err)
		}
		out, err := Rewrite(wasm, Options{})
		if err != nil {
			t.Fatal(name, err)
		}
		made, err := Measure(out.Wasm)
		if err != nil {
			t.Fatal(name, err)
		}
		added := made.MostBlocks - counted.MostBlocks // what is paid for is there still, and counts again
		if counted.MostBlocks < 1500 || added > counted.MostBlocks+100 {
			t.Errorf("%s: %d blocks are counted, and %d are added", name, counted.MostBlocks, added)
		}
	}
	var r *Refusal
	if _, err := Inspect(daemonOf{body: manyTimes("\x41\x00\x40\x00\x1a", 32_000)}.bytes(), Limits{Shape: true}); !errors.As(err, &r) || r.Code != RefusedBlocks {
		t.Errorf("32,000 memory.grow: %v", err)
	}
}
