package trust

import (
	"errors"
	"testing"
)

func TestRightsReadBack(t *testing.T) {
	for r := range RightsAll + 1 {
		if got, err := ParseRights(r.String()); err != nil || got != r {
			t.Errorf("%d is %q, which reads as %d, %v", r, r, got, err)
		}
	}
	for _, bad := range []string{"", "All", "read,", "read operate", "the owner's own hand", "read,root"} {
		if r, err := ParseRights(bad); !errors.Is(err, ErrBadRights) {
			t.Errorf("%q: %v, %v", bad, r, err)
		}
	}
}
