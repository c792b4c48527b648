package api

import (
	"errors"
	"strings"
	"testing"
)

func TestParseEventID(t *testing.T) {
	for text, want := range map[string]EventID{
		"order-17":                      {"order-17", 1},
		"import/1":                      {"import", 1},
		"import/42":                     {"import", 42},
		"a/b/7":                         {"a/b", 7},
		"a/b":                           {"a/b", 1},
		"a/7x":                          {"a/7x", 1},
		"a/007":                         {"a", 7},
		"grüße €":                       {"grüße €", 1},
		"x/9223372036854775807":         {"x", 1<<63 - 1},
		strings.Repeat("x", 255) + "/3": {strings.Repeat("x", 255), 3},
	} {
		got, err := ParseEventID(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if again, err := ParseEventID(got.String()); err != nil || again != got {
			t.Errorf("%q reads back as %+v, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", "/", "/1", "a/", "a/0", "a/00", "a/9223372036854775808", "a/-7", "a/+7", "a/-", "a/--7", "a/99999999999999999999", strings.Repeat("x", 256)} {
		if got, err := ParseEventID(bad); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func FuzzParseEventID(f *testing.F) {
	f.Add("order/17")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseEventID(text)
		if err != nil {
			return
		}
		if again, err := ParseEventID(id.String()); err != nil || again != id {
			t.Errorf("%q is %+v, which reads back as %+v, %v", text, id, again, err)
		}
	})
}
