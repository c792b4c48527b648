package canon

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type jsonInner struct {
	N int `json:"n"`
}

type jsonOuter struct {
	Text   string            `json:"text"`
	Number *uint64           `json:"number,omitempty"`
	List   []jsonInner       `json:"list,omitempty"`
	Map    map[string]string `json:"map,omitempty"`
	Bytes  []byte            `json:"bytes,omitempty"`
	Pair   [2]string         `json:"pair,omitempty"`
	At     time.Time         `json:"at,omitzero"`
	On     bool              `json:"on"`
	jsonInner
}

func TestUnmarshalJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, ` {"text":"a"} `, `{"text":"a","n":1,"number":18446744073709551615,"on":true}`, `{"list":[{"n":1},{"n":1}],"map":{"a":"b","A":"c"}}`,
		`{"number":null,"list":null,"bytes":null}`, `{"bytes":"AAA="}`, `{"pair":["a","b"]}`, `{"at":"2026-01-02T03:04:05Z"}`, `{"text":"\ud83d\ude00 \\ud800 \u00e9"}`,
	} {
		var got, want jsonOuter
		if err := UnmarshalJSON([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v, %v", text, got, want, err)
		}
	}
	for text, why := range map[string]string{
		``: "missing", `null`: "null", `{"text":"a"}{"text":"b"}`: "behind", `{"text":"a"} x`: "behind", `{"text":"a"}]`: "behind",
		`{"text":"a","text":"b"}`: `"text" stands there twice`, `{"te\u0078t":"a","text":"b"}`: `"text" stands there twice`,
		`{"TEXT":"a"}`: `it is written "text"`, `{"more":1}`: `unknown field "more"`, `{"list":[{"n":1,"N":2}]}`: `list[0]: unknown field "N"`,
		`{"list":[{"n":1},{"n":1,"n":2}]}`: "list[1]: the key", `{"map":{"a":"b","a":"c"}}`: "map: the key", `{"text":null}`: "text: null", `{"n":null}`: "n: null",
		`{"list":[null]}`: "list[0]: null", `{"bytes":"AAB="}`: "not base64", `{"bytes":"AA\nA="}`: "not base64", `{"pair":["a"]}`: "1 values", `{"pair":["a","b","c"]}`: "3 values",
		`{"n":1e3}`: "1e3", `{"n":1.0}`: "1.0", `{"number":-1}`: "-1", `{"n":"1"}`: "string", `{"on":1}`: "number", `{"text":"` + "\xff" + `"}`: "UTF-8", `{"text":"\ud800"}`: "surrogate",
		`{"text":"\ude00\ud83d"}`: "surrogate", `[1]`: "array", `{"text":"a",}`: "", `{text:1}`: "", `{"text" "a"}`: "", `{"map":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`: "32 levels",
	} {
		var got jsonOuter
		if err := UnmarshalJSON([]byte(text), &got); !errors.Is(err, ErrJSON) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want one that says %q", text, err, why)
		}
	}
}

// What the strict reader takes encoding/json takes too, and reads the same.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, text := range []string{`{}`, `{"text":"a"}{}`, `{"text":"a","text":"b"}`, `{"TEXT":"a"}`, `{"list":[{"n":1}]}`, `{"map":{"a":"b"}}`, `{"text":"\ud83d\ude00"}`, `{"text":"\ud83d"}`, `null`, `{"pair":["a","b"]}`, `{"bytes":"AAA="}`, `[[[`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want jsonOuter
		if err := UnmarshalJSON(b, &got); err != nil {
			if !errors.Is(err, ErrJSON) {
				t.Fatalf("%q: %v, which is not ErrJSON", b, err)
			}
			return
		}
		if !json.Valid(b) {
			t.Fatalf("%q is not JSON, and was taken", b)
		}
		if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, want %+v, %v", b, got, want, err)
		}
	})
}
