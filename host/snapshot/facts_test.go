package snapshot

import (
	"bytes"
	"testing"

	"wasmhost.example/internal/canon/canontest"
)

func TestFactsAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/facts1.txt", &Facts{Version: FactsVersion})
}

// FuzzFacts holds that what is read has one form, and is within its bounds.
func FuzzFacts(f *testing.F) {
	for _, l := range []*Facts{
		{Version: 1, Spawned: 1, Previous: []byte{}, Losses: []LossRecord{}},
		{Version: 1, Spawned: 1 << 60, Previous: make([]byte, 32), Errors: 7, Losses: []LossRecord{{From: 1, To: 2, Epoch: 3, Why: "a disk", Time: 4}}},
		{Version: 2, Spawned: 1}, {Version: 1, Spawned: 1, Previous: []byte{1}}, {Version: 1, Spawned: 1, Losses: make([]LossRecord, 2)},
	} {
		b, err := l.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeFacts(b)
		if err != nil {
			return
		}
		if l.Spawned <= 0 || len(l.Losses) > 1 || len(l.Previous) != 0 && len(l.Previous) != 32 {
			t.Errorf("%+v is taken", l)
		}
		if again, err := l.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x, %v", b, again, err)
		}
	})
}
