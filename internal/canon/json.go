package canon

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrJSON says that a text is not the one JSON value that was asked for.
var ErrJSON = errors.New("malformed JSON")

// maxJSONDepth bounds how deep arrays and objects lie in each other.
const maxJSONDepth = 32

// UnmarshalJSON reads one JSON value into what into points to, and takes nothing that
// json.Unmarshal lets pass: data behind the value, keys that are repeated, unknown or
// in another case, null where the Go type has no nil, arrays of another length than the
// Go type's, base64 with line breaks or spare bits, text that is not UTF-8, and more
// than 32 levels. Errors wrap ErrJSON.
func UnmarshalJSON(b []byte, into any) error {
	if err := checkText(b); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}

	w := jsonWalk{json.NewDecoder(bytes.NewReader(b))}
	w.d.UseNumber()
	if err := w.value(reflect.TypeOf(into).Elem(), "", 0); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if _, err := w.d.Token(); err != io.EOF {
		return fmt.Errorf("%w: there is something behind the value", ErrJSON)
	}

	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	return nil
}

// checkText refuses bytes that are not UTF-8 and halves of surrogate pairs, both of
// which encoding/json replaces.
func checkText(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("the text is not UTF-8")
	}

	for i := 0; i < len(b); i++ { // only strings have backslashes
		if b[i] != '\\' {
			continue
		}

		i++
		r, ok := escaped(b, i)
		if !ok {
			continue
		}

		i += 4
		if r < 0xd800 || r > 0xdfff {
			continue
		}

		low, ok := escaped(b, i+2)
		if r > 0xdbff || !ok || b[i+1] != '\\' || low < 0xdc00 || low > 0xdfff {
			return errors.New("half of a surrogate pair")
		}

		i += 6
	}

	return nil
}

// escaped reads the uXXXX at i.
func escaped(b []byte, i int) (rune, bool) {
	if i+5 > len(b) || b[i] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[i+1:i+5]), 16, 16)
	return rune(n), err == nil
}

// jsonWalk reads the tokens of a value beside the Go type that it is for.
type jsonWalk struct{ d *json.Decoder }

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
)

// value reads one value for t, which is nil where any is good. at is where it stands.
func (w jsonWalk) value(t reflect.Type, at string, depth int) error {
	tok, err := w.d.Token()
	if err == io.EOF {
		return fmt.Errorf("%sthe value is missing", at)
	} else if err != nil {
		return err
	}

	nullable := t == nil
	for t != nil && t.Kind() == reflect.Pointer {
		nullable, t = true, t.Elem()
	}

	if t != nil && (t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler)) {
		nullable, t = nullable || t.Kind() == reflect.Interface, nil
	}

	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		nullable = true
	}

	switch tok := tok.(type) {
	case nil:
		if !nullable || at == "" {
			return fmt.Errorf("%snull is no value", at)
		}

	case json.Delim:
		if depth++; depth > maxJSONDepth {
			return fmt.Errorf("%smore than %d levels", at, maxJSONDepth)
		}
		if tok == '{' {
			return w.object(t, at, depth)
		}
		return w.array(t, at, depth)

	case string:
		if t != nil && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			if _, err := base64.StdEncoding.Strict().DecodeString(tok); err != nil || strings.ContainsAny(tok, "\r\n") {
				return fmt.Errorf("%snot base64", at)
			}
		}
	}

	return nil
}

// object reads the rest of an object.
func (w jsonWalk) object(t reflect.Type, at string, depth int) error {
	var fields map[string]reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = make(map[string]reflect.Type)
		jsonFields(t, fields)
	}

	seen := make(map[string]bool)
	for w.d.More() {
		tok, err := w.d.Token()
		if err != nil {
			return err
		}

		key, ok := tok.(string)
		if !ok {
			return fmt.Errorf("%sa key that is no string", at)
		}
		if seen[key] {
			return fmt.Errorf("%sthe key %q stands there twice", at, key)
		}

		seen[key] = true
		var of reflect.Type
		if fields != nil {
			if of, ok = fields[key]; !ok {
				return fmt.Errorf("%sunknown field %q%s", at, key, meant(fields, key))
			}
		} else if t != nil && t.Kind() == reflect.Map {
			of = t.Elem()
		}

		if err := w.value(of, at+key+": ", depth); err != nil {
			return err
		}
	}

	_, err := w.d.Token()
	return err
}

// meant is what to say of a key in another case.
func meant(fields map[string]reflect.Type, key string) string {
	for name := range fields {
		if strings.EqualFold(name, key) {
			return fmt.Sprintf("; it is written %q", name)
		}
	}
	return ""
}

// array reads the rest of an array.
func (w jsonWalk) array(t reflect.Type, at string, depth int) error {
	var of reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		of = t.Elem()
	}

	n := 0
	for ; w.d.More(); n++ {
		if err := w.value(of, fmt.Sprintf("%s[%d]: ", strings.TrimSuffix(at, ": "), n), depth); err != nil {
			return err
		}
	}

	if t != nil && t.Kind() == reflect.Array && n != t.Len() {
		return fmt.Errorf("%s%d values, not %d", at, n, t.Len())
	}

	_, err := w.d.Token()
	return err
}

// jsonFields collects the fields of a struct by the names that encoding/json writes.
func jsonFields(t reflect.Type, out map[string]reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			jsonFields(f.Type, out)
		case !f.IsExported() || f.Tag.Get("json") == "-":
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
}
