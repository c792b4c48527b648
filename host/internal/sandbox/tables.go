package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental/table"

	"wasmhost.example/abi"
)

// errTable says that an instance's table cannot be made what it must be.
var errTable = errors.New("a table cannot shrink")

// findTables looks up what reads and writes the tables that the module changes,
// and which reference is which function.
func (i *instance) findTables() error {
	if len(i.module.rewritten.Tables) == 0 {
		return nil
	}
	f := i.mod.ExportedFunction(abi.FunctionRef)
	i.funcs = make(map[uint64]uint32)
	for n := range uint32(i.module.rewritten.Functions) {
		ref, err := f.Call(i.ctx, uint64(n))
		if err != nil {
			return fmt.Errorf("asking for function %d: %w", n, err)
		}
		i.funcs[ref[0]] = n + 1
	}
	for _, t := range i.module.rewritten.Tables {
		i.tables = append(i.tables, tableFunctions{size: i.mod.ExportedFunction(t.Size), grow: i.mod.ExportedFunction(t.Grow),
			get: i.mod.ExportedFunction(t.Get), set: i.mod.ExportedFunction(t.Set), clear: i.mod.ExportedFunction(t.Clear)})
	}
	return nil
}

// spillTables returns the tables' elements, in the memory of into where there is
// enough.
func (i *instance) spillTables(into [][]uint32) ([][]uint32, error) {
	out := slices.Grow(into[:0], len(i.tables))
	for k := range i.tables {
		t := &i.tables[k]
		size, err := i.callTable(t.size, 0, 0)
		if err != nil {
			return nil, err
		}
		var elements []uint32
		if k < len(into) {
			elements = into[k][:0]
		}
		elements = slices.Grow(elements, int(uint32(size)))[:uint32(size)]
		clear(elements)
		for e := 0; t.get != nil && e < len(elements); e++ {
			ref, err := i.callTable(t.get, uint64(e), 0)
			if err != nil {
				return nil, err
			}
			if ref == 0 {
				continue
			}
			n, ok := i.funcs[ref]
			if !ok {
				if n = i.function(&i.module.rewritten.Tables[k], uint32(e)); n == 0 {
					return nil, fmt.Errorf("table %d, element %d: a function that is not the module's", k, e)
				}
				i.funcs[ref] = n
			}
			elements[e] = n
		}
		out = append(out, elements)
	}
	return out, nil
}

// function returns the index, plus 1, of the function in an element of a table,
// 0 where it is none of the module's. An engine may have several references to
// a function: each of an element segment is one of its own. There are as many
// as the module says, for code makes none.
func (i *instance) function(t *abi.Table, element uint32) uint32 {
	for _, typ := range i.module.rewritten.Types {
		f := lookUp(i.mod, t.Index, element, typ)
		if f == nil {
			continue
		}
		if n, ok := i.module.rewritten.Original(f.Definition().Index()); ok {
			return n + 1
		}
		break
	}
	return 0
}

// lookUp returns the function in an element of a table, nil where it is of
// another type.
func lookUp(m api.Module, index, element uint32, typ abi.Type) (f api.Function) {
	defer func() {
		if recover() != nil { // the engine's way to say that the type differs
			f = nil
		}
	}()
	return table.LookupFunction(m, index, element, typ.Params, typ.Results)
}

// keepTables copies tables to i.have: the guest that has them goes its own way.
func (i *instance) keepTables(tables [][]uint32) {
	for len(i.have) < len(tables) {
		i.have = append(i.have, nil)
	}
	for k, t := range tables {
		i.have[k] = append(i.have[k][:0], t...)
	}
}

// loadTables makes the tables what spillTables returned. spilled says that they
// are what i.have says. An error that wraps errTable says that the instance is
// of no use for that.
func (i *instance) loadTables(tables [][]uint32, spilled bool) error {
	if len(tables) != len(i.tables) {
		return fmt.Errorf("%d tables of %d", len(tables), len(i.tables))
	}
	var err error
	if !spilled {
		if i.have, err = i.spillTables(i.have); err != nil {
			return err
		}
	}
	for k, want := range tables {
		t, have := &i.tables[k], i.have[k]
		if len(have) > len(want) {
			return errTable
		}
		if n := len(want) - len(have); n > 0 {
			got, err := i.callTable(t.grow, uint64(n), 0)
			if err != nil || int32(got) < 0 {
				return errors.Join(fmt.Errorf("growing table %d by %d elements", k, n), err)
			}
			have = append(have, make([]uint32, n)...)
		}
		if slices.Equal(have, want) {
			continue
		}
		for e, f := range want {
			switch {
			case f == have[e]:
			case f == 0:
				_, err = i.callTable(t.clear, uint64(e), 0)
			default:
				_, err = i.callTable(t.set, uint64(e), uint64(f-1))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// callTable calls f with as many of the arguments as it takes, and returns its
// result if it has one.
func (i *instance) callTable(f api.Function, a, b uint64) (uint64, error) {
	i.stack = [2]uint64{a, b}
	if err := f.CallWithStack(i.ctx, i.stack[:]); err != nil {
		return 0, fmt.Errorf("reaching a table: %w", err)
	}
	return i.stack[0], nil
}
