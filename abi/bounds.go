package abi

import (
	"fmt"
	"slices"
)

// Bound is a bound of a module's Shape. A module that goes over it is a
// *Refusal of its code, before anything is compiled.
type Bound struct {
	Code  string
	Limit int
	What  string // is counted
	mend  string
}

// The codes of a Refusal of a module's shape.
const (
	RefusedTypes     = "shape-types"
	RefusedParams    = "shape-params"
	RefusedResults   = "shape-results"
	RefusedImports   = "shape-imports"
	RefusedFunctions = "shape-functions"
	RefusedTables    = "shape-tables"
	RefusedTable     = "shape-table"
	RefusedGlobals   = "shape-globals"
	RefusedExports   = "shape-exports"
	RefusedElements  = "shape-element-segments"
	RefusedItems     = "shape-elements"
	RefusedData      = "shape-data-segments"
	RefusedCustoms   = "shape-custom-sections"
	RefusedName      = "shape-name"
	RefusedBody      = "shape-body"
	RefusedLocals    = "shape-locals"
	RefusedNesting   = "shape-nesting"
	RefusedLoops     = "shape-loops"
	RefusedBlocks    = "shape-blocks"
	RefusedTargets   = "shape-targets"
	RefusedHeavy     = "shape-heavy"
	RefusedValues    = "shape-values"
	RefusedJoins     = "shape-joins"
	RefusedChurn     = "shape-churn"
	RefusedSquares   = "shape-squares"
	RefusedAllValues = "shape-all-values"
	RefusedAllJoins  = "shape-all-joins"
	RefusedAllChurn  = "shape-all-churn"
)

const (
	linkLess   = "link less into one module"
	splitIt    = "split the function, or build it with less inlining"
	buildAgain = "build it with another toolchain: no compiler that is known makes such a module"
)

// The bounds. RATIONALE.md has what real modules come to; each is at least
// twice that.
var (
	boundTypes     = &Bound{RefusedTypes, 5_000, "types", linkLess}
	boundParams    = &Bound{RefusedParams, 256, "parameters of a type", buildAgain}
	boundResults   = &Bound{RefusedResults, 64, "results of a type", buildAgain}
	boundImports   = &Bound{RefusedImports, 2_000, "imports", linkLess}
	boundFunctions = &Bound{RefusedFunctions, 250_000, "functions", linkLess}
	boundTables    = &Bound{RefusedTables, 64, "tables", buildAgain}
	boundTable     = &Bound{RefusedTable, 1 << 20, "elements that a table begins with", linkLess}
	boundGlobals   = &Bound{RefusedGlobals, 65_000, "globals", linkLess}
	boundExports   = &Bound{RefusedExports, 200_000, "exports", "export only what a host calls"}
	boundElements  = &Bound{RefusedElements, 10_000, "element segments", linkLess}
	boundItems     = &Bound{RefusedItems, 1 << 20, "elements in segments", linkLess}
	boundData      = &Bound{RefusedData, 250_000, "data segments", linkLess}
	boundCustoms   = &Bound{RefusedCustoms, 256, "custom sections", "strip the module"}
	boundName      = &Bound{RefusedName, 4_096, "bytes of a name", "shorten it"}
	boundBody      = &Bound{RefusedBody, 2 << 20, "bytes of a function", splitIt}
	boundLocals    = &Bound{RefusedLocals, 5_000, "locals of a function", splitIt}
	boundNesting   = &Bound{RefusedNesting, 8_000, "nested blocks", splitIt}
	boundLoops     = &Bound{RefusedLoops, 1_500, "loops of a function", splitIt}
	boundBlocks    = &Bound{RefusedBlocks, 50_000, "basic blocks of a function", splitIt}
	boundTargets   = &Bound{RefusedTargets, 16_000, "br_table targets of a function", splitIt}
	boundHeavy     = &Bound{RefusedHeavy, 120_000, "heavy instructions of a function", splitIt}
	boundValues    = &Bound{RefusedValues, 100_000, "values that a function's blocks, branches and calls pass on", splitIt}
	boundJoins     = &Bound{RefusedJoins, 22_000_000, "locals × basic blocks of a function", splitIt}
	boundChurn     = &Bound{RefusedChurn, 2_500_000, "locals × nested loops of a function", splitIt}
	boundSquares   = &Bound{RefusedSquares, 4_000_000_000, "squares of functions' basic blocks", splitIt}
	boundAllValues = &Bound{RefusedAllValues, 5_000_000, "values that blocks, branches and calls pass on", linkLess}
	boundAllJoins  = &Bound{RefusedAllJoins, 120_000_000, "locals × basic blocks of all functions", linkLess}
	boundAllChurn  = &Bound{RefusedAllChurn, 10_000_000, "locals × nested loops of all functions", linkLess}
)

// Bounds are all of them, in the order in which they are checked.
var Bounds = []*Bound{
	boundTypes, boundParams, boundResults, boundImports, boundFunctions, boundTables, boundTable, boundGlobals, boundExports,
	boundElements, boundItems, boundData, boundCustoms, boundName,
	boundBody, boundLocals, boundNesting, boundLoops, boundBlocks, boundTargets, boundHeavy, boundValues, boundJoins, boundChurn,
	boundSquares, boundAllValues, boundAllJoins, boundAllChurn,
}

// over returns the refusal of n; nil where it is within the bound. where says
// of what, and may be empty.
func (b *Bound) over(n int, where string) *Refusal {
	if n <= b.Limit {
		return nil
	}
	return &Refusal{Code: b.Code, Found: fmt.Sprintf("%s%d %s, the limit is %d", where, n, b.What, b.Limit), Mend: b.mend}
}

// isShape reports whether the refusal is of a Bound.
func (r *Refusal) isShape() bool {
	return slices.ContainsFunc(Bounds, func(b *Bound) bool { return b.Code == r.Code })
}

// hold refuses n where the module's shape is bounded and it is over the bound.
func (p *parsed) hold(r *reader, b *Bound, n int) {
	if !p.bounded || r.fail != nil {
		return
	}
	if fail := b.over(n, "the module has "); fail != nil {
		r.fail, r.pos = fail, len(r.b)
	}
}

// each is reader.each of at most as many as the bound has beyond those before.
func (p *parsed) each(r *reader, b *Bound, before int, f func()) {
	n := r.count()
	p.hold(r, b, before+n)
	for ; n > 0 && r.fail == nil; n-- {
		f()
	}
}

// name is reader.name within its bound.
func (p *parsed) name(r *reader) string {
	at := r.pos
	n := r.u32()
	p.hold(r, boundName, int(n))
	if r.fail != nil {
		return ""
	}

	p.shape.MostName = max(p.shape.MostName, int(n))
	r.pos = at
	return r.name()
}

// holdBody returns the refusal of a function that was measured; nil where it
// and all before it are within the bounds.
func (s *Shape) holdBody(b *bodyShape, bytes, function int) *Refusal {
	of := fmt.Sprintf("function %d: ", function)
	for _, c := range []struct {
		bound *Bound
		n     int
		of    string
	}{
		{boundBody, bytes, of}, {boundLocals, b.locals, of}, {boundNesting, b.nesting, of}, {boundLoops, b.loops, of},
		{boundBlocks, b.blocks, of}, {boundTargets, b.targets, of}, {boundHeavy, b.heavy, of}, {boundValues, b.values, of},
		{boundJoins, b.locals * b.blocks, of}, {boundChurn, b.locals * b.depths, of},
		{boundSquares, s.Squares, "the module has "}, {boundAllValues, s.Values, "the module has "},
		{boundAllJoins, s.Joins, "the module has "}, {boundAllChurn, s.Churn, "the module has "},
	} {
		if fail := c.bound.over(c.n, c.of); fail != nil {
			return fail
		}
	}

	return nil
}
