// Package canontest holds encodings against those of versions that are out there.
package canontest

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"wasmhost.example/internal/canon"
)

var update = flag.Bool("update-golden", false, "write the golden encodings anew: what nodes of earlier versions send is then not held any more")

// Golden encodes each message, with some value in each field that is zero, and compares
// that with the line of its type in the file: what one version of the program writes
// is what others read. Messages are pointers to structs. To change one on purpose,
// raise the version of its protocol, and keep reading the one before.
func Golden(t *testing.T, file string, messages ...any) {
	t.Helper()
	var out strings.Builder
	for _, m := range messages {
		n := 0
		fill(reflect.ValueOf(m).Elem(), &n)
		b, err := canon.Marshal(m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		fmt.Fprintf(&out, "%s %s\n", reflect.TypeOf(m).Elem().Name(), hex.EncodeToString(b))
		again := reflect.New(reflect.TypeOf(m).Elem()).Interface()
		if err := canon.Unmarshal(b, again); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%T: %+v is read as %+v, %v", m, m, again, err)
		}
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(golden), "\n"), strings.Split(out.String(), "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("line %d of %s is %q, this version writes %q: nodes of other versions do not read it", i+1, file, at(want, i), at(got, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// fill sets what is zero to values that differ from each other.
func fill(v reflect.Value, n *int) {
	if v.Kind() != reflect.Struct && !v.IsZero() || !v.CanSet() {
		return
	}
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("cbor") != "-" {
				fill(v.Field(i), n)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(*n%255) + 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(uint64(*n) * 1000)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(-*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 2)
	default:
		panic(fmt.Sprintf("a %s in a message", v.Type()))
	}
}
