package sandbox

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"wasmhost.example/abi"
)

// What is kept is found again, and is the same after a journey.
func TestVariables(t *testing.T) {
	v := &variables{}
	want := make(map[string]string)
	for n := range 200 {
		name, value := fmt.Sprintf("v%d", n*7%61), fmt.Sprintf("%0*d", n%13, n)
		if n%5 == 4 {
			v.remove(name)
			delete(want, name)
			continue
		}
		if !v.set(name, []byte(value)) {
			t.Fatalf("no room for %s", name)
		}
		want[name] = value
		again, err := readVariables(v.words())
		if err != nil {
			t.Fatal(err)
		}
		if again.size != v.size || len(again.list) != len(want) {
			t.Fatalf("%d bytes, %d variables; want %d, %d", again.size, len(again.list), v.size, len(want))
		}
		for name, value := range want {
			if got := again.get(name); string(got) != value {
				t.Fatalf("%s is %q, want %q", name, got, value)
			}
		}
	}
	if v.set("vbig", make([]byte, abi.MaxVariables)) {
		t.Error("there is room for more than there may be")
	}
	if v.get("vbig") != nil {
		t.Error("what had no room is there")
	}
}

// Words that words never gives are no variables: two states that differ would
// be the same guest.
func TestVariablesAreCanonical(t *testing.T) {
	v := &variables{}
	v.set("va", []byte("1"))
	v.set("vb", []byte("22"))
	good := v.words()
	for name, bad := range map[string][]uint32{
		"zero size": {0}, "size alone": {4}, "too many": append(slices.Clone(good), 0), "cut": good[:len(good)-1],
		"huge":    {1 << 31, 0},
		"padding": append(slices.Clone(good[:len(good)-1]), good[len(good)-1]|0xff<<24),
	} {
		if _, err := readVariables(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	swapped := &variables{list: []variable{v.list[1], v.list[0]}, size: v.size}
	if _, err := readVariables(swapped.words()); err == nil {
		t.Error("variables out of order are accepted")
	}
	twice := &variables{list: []variable{v.list[0], v.list[0]}, size: 2 * (varHead + 3)}
	if _, err := readVariables(twice.words()); err == nil {
		t.Error("a variable that is there twice is accepted")
	}
}

func FuzzVariables(f *testing.F) {
	v := &variables{}
	v.set("va", []byte("1"))
	v.set("cb", bytes.Repeat([]byte("2"), 9))
	var seed []byte
	for _, w := range v.words() {
		seed = append(seed, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		words := []uint32{}
		for ; len(b) >= 4; b = b[4:] {
			words = append(words, uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)
		}
		v, err := readVariables(words)
		if err == nil && !slices.Equal(v.words(), words) {
			t.Errorf("%v is read as %v", words, v.words())
		}
	})
}
