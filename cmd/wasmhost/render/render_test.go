package render

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	const one, list = `{"name":"c1","n":18446744073709551615,"f":1.5,"at":{"x":"a\n\"{"}}`, `[{"name":"c1","n":2},{"name":"c2","n":10000000000}]`
	for _, test := range []struct{ format, in, want string }{
		{"yaml", one + "\n", "at:\n  x: |-\n    a\n    \"{\nf: 1.5\n\"n\": 18446744073709551615\nname: c1\n"},
		{"yaml", one + "\n" + `{"a":1}` + "\n", "at:\n  x: |-\n    a\n    \"{\nf: 1.5\n\"n\": 18446744073709551615\nname: c1\n---\na: 1\n"},
		{"yaml", "[]\n", "[]\n"},
		{"jsonpath={.name}", one + "\n", "c1"},
		{"jsonpath=.n", one + "\n", "18446744073709551615"},
		{"jsonpath={.items[*].name}", list + "\n", "c1 c2"},
		{`jsonpath={range .items[?(@.n>5)]}{.n}{"\n"}{end}`, list + "\n", "10000000000\n"},
		{"jsonpath={.nope}", one + "\n", ""},
		{"jsonpath={.name}", one + "\n" + one + "\n", "c1\nc1"},
		{"go-template={{.name}}", one + "\n", "c1"},
		{"go-template={{range .items}}{{if gt .n 5}}{{.name | upper}}{{end}}{{end}}", list + "\n", "C2"},
		{"go-template={{.at.x | base64decode}}", `{"at":{"x":"aGk="}}` + "\n", "hi"},
		{"go-template={{json .at}}", `{"at":{"x":1}}` + "\n", `{"x":1}`},
		{"go-template={{.}}", "7\n", "7"},
		{"go-template={{.}}", "\"a b\"\n", "a b"},
	} {
		f, err := Parse(test.format)
		if err != nil {
			t.Errorf("%s: %v", test.format, err)
			continue
		}
		for _, size := range []int{len(test.in), 1, 3} {
			var out strings.Builder
			w := NewWriter(&out, f, false)
			for piece := range slices.Chunk([]byte(test.in), size) {
				if _, err := w.Write(piece); err != nil {
					t.Errorf("%s in pieces of %d: %v", test.format, size, err)
				}
			}
			if out.String() != test.want {
				t.Errorf("%s in pieces of %d: %q, want %q", test.format, size, out.String(), test.want)
			}
		}
	}
}

func TestLinesEnd(t *testing.T) {
	f, err := Parse("jsonpath={.a}")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := NewWriter(&out, f, true)
	if _, err := w.Write([]byte(`{"a":1}` + "\n" + `{"a":2}` + "\n")); err != nil || out.String() != "1\n2\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestFormatsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "xml", "yaml=x", "jsonpath", "jsonpath=", "jsonpath={.a", "go-template=", "go-template={{", "go-template={{nope}}"} {
		if _, err := Parse(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
	f, err := Parse("go-template={{.a.b}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewWriter(&strings.Builder{}, f, false).Write([]byte(`{"a":1}`)); err == nil {
		t.Error("a template that cannot be executed is no error")
	}
}

func TestFilters(t *testing.T) {
	row := map[string]any{"name": "c10", "n": int64(10), "big": uint64(1 << 63), "f": 1.5, "on": true, "none": nil, "tags": map[string]any{"zone": "b"},
		"list": []any{map[string]any{"x": "a"}, map[string]any{"x": "b"}}, "node": []any{"a", "0123"}, "time": "2026-01-02T00:00:00Z"}
	for text, want := range map[string]bool{
		"name=c10": true, "name==c10": true, "name=c1": false, "name=c1*": true, "name=*": true, "name=c1|c10": true, "name!=c10": false, "name!=c1*": false, "name!=x": true,
		"n=10": true, "n>9": true, "n>10": false, "n>=10": true, "n<9": false, "n<100": true, "n<=10": true, "big>9223372036854775807": true, "f>1.4999": true, "f<1.6": true,
		"on=true": true, "on!=true": false, "none=": true, "none=x": false, "none!=x": true, "nope=": true, "nope>1": false, "tags.zone=b": true, "tags.zone=c": false, "tags=": true,
		"list.x=b": true, "list.x=c": false, "list.x!=b": false, "node=a": true, "node=0123": true, "name=c10,n=10": true, "name=c10,n=11": false, "time>2026-01-01": true, "name=c.0": false,
	} {
		filters, err := ParseFilters([]string{text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := !slices.ContainsFunc(filters, func(f Filter) bool { return !f.Meets(row) })
		if got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
	for _, text := range []string{"", "name", "=x", "a b=c", "n>1|2", "n>", "name=a,", ".name=c", "1=2"} {
		if _, err := ParseFilters([]string{text}); !errors.Is(err, ErrFilter) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOrder(t *testing.T) {
	rows := []map[string]any{{"id": "c10", "n": int64(2)}, {"id": "c9", "n": int64(10)}, {"id": "none"}, {"id": "c9a", "n": 1.5}, {"id": "c09", "n": uint64(1 << 63)}}
	for text, want := range map[string]string{
		"id": "c9 c09 c9a c10 none", "-id": "none c10 c9a c9 c09", "n": "c9a c10 c9 c09 none", "{.n}": "c9a c10 c9 c09 none", "-n": "c09 c9 c10 c9a none", ".id": "c9 c09 c9a c10 none",
	} {
		o, err := ParseOrder(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		sorted := slices.Clone(rows)
		slices.SortStableFunc(sorted, o.Compare)
		var got []string
		for _, r := range sorted {
			got = append(got, r["id"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "-", "a b", "{}", "a..b", "..a"} {
		if _, err := ParseOrder(text); !errors.Is(err, ErrFilter) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFields(t *testing.T) {
	type inner struct {
		Deep string `json:"deep"`
	}
	type row struct {
		inner
		Name   string `json:"name"`
		Hidden string `json:"-"`
		Odd    int    `json:"odd,omitempty"`
	}
	if got := Fields(reflect.TypeFor[row]()); !slices.Equal(got, []string{"deep", "name", "odd"}) {
		t.Error(got)
	}
}
