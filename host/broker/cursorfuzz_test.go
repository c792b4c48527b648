package broker

import (
	"testing"
)

// FuzzCursor holds that a cursor that is read is written alike.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"0", "12", "00112233aabbccdd:7", "00112233AABBCCDD:7", ":1", "01", "+1", "18446744073709551615", "x:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseCursor(s); err == nil && c.String() != s {
			t.Errorf("%q is written as %q", s, c)
		}
	})
}
