package render

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
)

func FuzzFilter(f *testing.F) {
	for _, text := range []string{"name=c1", "n>10,tags.zone!=b*|c", "a.b<=2026-01-01", "x=", "==", "a>=-1e5", "a=" + "*"} {
		f.Add(text, "c1", int64(7))
	}
	f.Fuzz(func(t *testing.T, text, name string, n int64) {
		row := map[string]any{"name": name, "n": n, "tags": map[string]any{"zone": name}}
		filters, err := ParseFilters([]string{text})
		if err != nil && !errors.Is(err, ErrFilter) {
			t.Error(err)
		}
		for _, one := range filters {
			if met := one.Meets(row); met && one.Field() == "" {
				t.Errorf("%q is about no field", text)
			}
		}
		o, err := ParseOrder(text)
		if err != nil {
			return
		}
		if a, b := o.Compare(row, map[string]any{"name": text, "n": 1}), o.Compare(map[string]any{"name": text, "n": 1}, row); a != -b {
			t.Errorf("%q: %d one way and %d the other", text, a, b)
		}
	})
}

// What is written as pieces of JSON is taken apart at the ends of its values.
func FuzzWriter(f *testing.F) {
	f.Add([]byte(`{"a":"}\"{"}`), uint8(3))
	f.Add([]byte(`[[],{}]`), uint8(1))
	f.Add([]byte(`"x"`), uint8(2))
	f.Fuzz(func(t *testing.T, value []byte, size uint8) {
		if !json.Valid(value) {
			return
		}
		var compact any
		if json.Unmarshal(value, &compact) != nil {
			return
		}
		one, err := json.Marshal(compact)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		w := NewWriter(io.Discard, Format{write: func(_ io.Writer, raw []byte) error {
			count++
			if string(raw) != string(one) {
				t.Errorf("value %q, want %q", raw, one)
			}
			return nil
		}}, false)
		lines := append(append(append([]byte(nil), one...), '\n'), append(one, '\n')...)
		for step := int(size)%7 + 1; len(lines) > 0; {
			n := min(step, len(lines))
			if _, err := w.Write(lines[:n]); err != nil {
				t.Fatal(err)
			}
			lines = lines[n:]
		}
		if count != 2 {
			t.Errorf("%q: %d values, want 2", one, count)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"yaml", "jsonpath={.a[0]}", "jsonpath={range .items[*]}{.b}{end}", "go-template={{.a}}", "jsonpath={.a[?(@.b==1)]}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Parse(text); err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}
