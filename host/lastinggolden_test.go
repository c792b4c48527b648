package host

import (
	"bytes"
	"testing"

	"wasmhost/internal/canon/canontest"
)

func TestLastingFactsAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/lasting1.txt", &lasting{Version: lastingVersion})
}

// FuzzLasting holds that what is read has one form, and is within its bounds.
func FuzzLasting(f *testing.F) {
	for _, l := range []*lasting{
		{Version: 1, Spawned: 1, Previous: []byte{}, Losses: []lossRecord{}},
		{Version: 1, Spawned: 1 << 60, Previous: make([]byte, 32), Errors: 7, Losses: []lossRecord{{From: 1, To: 2, Epoch: 3, Why: "a disk", Time: 4}}},
		{Version: 2, Spawned: 1}, {Version: 1, Spawned: 1, Previous: []byte{1}}, {Version: 1, Spawned: 1, Losses: make([]lossRecord, 2)},
	} {
		b, err := l.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLasting(b)
		if err != nil {
			return
		}
		if l.Spawned <= 0 || len(l.Losses) > 1 || len(l.Previous) != 0 && len(l.Previous) != 32 {
			t.Errorf("%+v is taken", l)
		}
		if again, err := l.encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x, %v", b, again, err)
		}
	})
}

// FuzzChannelCursor holds that a cursor that is read is written alike.
func FuzzChannelCursor(f *testing.F) {
	for _, s := range []string{"0", "12", "00112233aabbccdd:7", "00112233AABBCCDD:7", ":1", "01", "+1", "18446744073709551615", "x:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseChannelCursor(s); err == nil && c.String() != s {
			t.Errorf("%q is written as %q", s, c)
		}
	})
}
