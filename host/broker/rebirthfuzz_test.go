package broker

import (
	"bytes"
	"testing"

	"wasmhost.example/internal/canon"
)

// What is read of a channel's births is within its bounds, and has one form.
func FuzzDecodeRebirth(f *testing.F) {
	born, source := make([]byte, 16), make([]byte, 32)
	for _, rec := range []storedRebirth{
		{Born: born, Former: []formerBirth{}},
		{Born: born, Former: []formerBirth{{Source: source, Head: 1}, {Source: source, Head: 1<<64 - 1}}},
		{Born: born[:15], Former: []formerBirth{{Source: source[:31]}}},
	} {
		b, err := canon.Marshal(&rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRebirth(b)
		if err != nil {
			return
		}
		if len(rec.Born) != 16 || len(rec.Former) > maxFormer {
			t.Errorf("a birth of %d bytes and %d former ones are read", len(rec.Born), len(rec.Former))
		}
		if again, err := canon.Marshal(&rec); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x, %v", b, again, err)
		}
	})
}
