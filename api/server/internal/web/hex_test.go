package web

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/api"
)

// TestHexOfAnyLengthIsRead reads what a header or a parameter may hold into 32 bytes.
func TestHexOfAnyLengthIsRead(t *testing.T) {
	for _, s := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("0", 66), strings.Repeat("x", 64), strings.Repeat("f", 1<<16)} {
		if err := HexInto(make([]byte, 32), s); !errors.Is(err, api.ErrBadRequest) {
			t.Errorf("%d characters: %v", len(s), err)
		}
	}
	if err := HexInto(make([]byte, 32), strings.Repeat("aB", 32)); err != nil {
		t.Error(err)
	}
}
