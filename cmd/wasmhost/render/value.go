package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decode reads a JSON value. Whole numbers are int64 or uint64, others float64.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	return numbers(v), nil
}

// numbers puts numbers in the place of json.Number within v.
func numbers(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = numbers(e)
		}

	case []any:
		for i, e := range x {
			x[i] = numbers(e)
		}

	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(string(x), 10, 64); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil {
			return f
		}

		return string(x)
	}
	return v
}

// Object returns v as JSON has it.
func Object(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}

	out, err := decode(raw)
	if err != nil {
		return nil, err
	}

	o, ok := out.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%T is no JSON object", v)
	}
	return o, nil
}

// Fields returns the names of the fields that a struct type has in JSON, sorted.
func Fields(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}

	slices.Sort(names)
	return slices.Compact(names)
}

// at returns the values that a path leads to: several where it passes a list.
func at(v any, path []string) []any {
	if list, ok := v.([]any); ok {
		var all []any
		for _, e := range list {
			all = append(all, at(e, path)...)
		}
		return all
	}

	if len(path) == 0 {
		if v == nil {
			return nil
		}
		return []any{v}
	}

	o, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	return at(o[path[0]], path[1:])
}
