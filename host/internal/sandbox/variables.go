package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/abi"
)

// Prefixes of the names of variables.
const (
	varPrefix    = "v" // of the plug-in's own
	configPrefix = "c" // of its configuration
)

// variables are what an Extism plug-in keeps in its host, sorted by name. They
// are state: as words, they travel beside the tables.
type variables struct {
	list []variable
	size int // bytes, with varHead for each
}

type variable struct {
	name  string
	value []byte
}

const varHead = 8 // two sizes of 4 bytes

func (v *variables) find(name string) (int, bool) {
	return slices.BinarySearchFunc(v.list, name, func(a variable, b string) int { return strings.Compare(a.name, b) })
}

// get returns a variable's value, which is not to be changed; nil for none.
func (v *variables) get(name string) []byte {
	if k, ok := v.find(name); ok {
		return v.list[k].value
	}
	return nil
}

// set keeps a copy of the value; false where there is no room.
func (v *variables) set(name string, value []byte) bool {
	k, ok := v.find(name)
	size := v.size + varHead + len(name) + len(value)
	if ok {
		size -= varHead + len(name) + len(v.list[k].value)
	}
	if size > abi.MaxVariables {
		return false
	}
	if !ok {
		v.list = slices.Insert(v.list, k, variable{name: name})
	}
	v.list[k].value, v.size = slices.Clone(value), size
	return true
}

func (v *variables) remove(name string) {
	if k, ok := v.find(name); ok {
		v.size -= varHead + len(name) + len(v.list[k].value)
		v.list = slices.Delete(v.list, k, k+1)
	}
}

// words returns the variables as numbers of 4 bytes: the size of all, and then
// of each the sizes of name and value, the name and the value.
func (v *variables) words() []uint32 {
	if len(v.list) == 0 {
		return []uint32{}
	}
	b := make([]byte, 0, v.size+3)
	for _, x := range v.list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(x.name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(x.value)))
		b = append(append(b, x.name...), x.value...)
	}
	out := []uint32{uint32(len(b))}
	for b = append(b, 0, 0, 0)[:(len(b)+3)&^3]; len(b) > 0; b = b[4:] {
		out = append(out, binary.LittleEndian.Uint32(b))
	}
	return out
}

var errVariables = errors.New("not variables")

// readVariables reads what words returned, and nothing else.
func readVariables(words []uint32) (*variables, error) {
	v := &variables{}
	if len(words) == 0 {
		return v, nil
	}
	size := int64(words[0])
	if size == 0 || size > abi.MaxVariables || (size+3)/4 != int64(len(words)-1) {
		return nil, fmt.Errorf("%w: %d bytes in %d words", errVariables, size, len(words)-1)
	}
	b := make([]byte, 0, 4*len(words))
	for _, w := range words[1:] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	for _, pad := range b[size:] {
		if pad != 0 {
			return nil, fmt.Errorf("%w: bytes after the end", errVariables)
		}
	}
	last := ""
	for b = b[:size]; len(b) > 0; {
		if len(b) < varHead {
			return nil, fmt.Errorf("%w: cut short", errVariables)
		}
		n, m := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		if b = b[varHead:]; n == 0 || n+m > uint64(len(b)) {
			return nil, fmt.Errorf("%w: cut short", errVariables)
		}
		name := string(b[:n])
		if name <= last {
			return nil, fmt.Errorf("%w: out of order", errVariables)
		}
		last = name
		v.list = append(v.list, variable{name, slices.Clone(b[n : n+m])})
		b = b[n+m:]
	}
	v.size = int(size)
	return v, nil
}
