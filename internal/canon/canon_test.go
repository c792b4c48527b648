package canon

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// excluded are items that are in shortest form and that we do not use.
func excluded(b []byte) bool {
	switch b[0] >> 5 {
	case 6: // tags, bignums among them
		return true
	case 7: // null, undefined and the other simple values
		return b[0] == 0xf6 || b[0] == 0xf7 || b[0] == 0xf0 || b[0] == 0xf8
	}
	return bytes.Contains(b, []byte{0xc1}) || bytes.Contains(b, []byte{0xc2})
}

// Of RFC 8949's examples we take those in their shortest form, which encode to
// the same bytes again, and refuse the others.
func TestAppendixA(t *testing.T) {
	f, err := os.Open("testdata/rfc8949_appendix_a.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	took, refused := 0, 0
	for in := bufio.NewScanner(f); in.Scan(); {
		text, form, ok := strings.Cut(in.Text(), " ")
		if !ok || text == "#" {
			continue
		}
		b := unhex(t, text)
		var v any
		err := Unmarshal(b, &v)
		if form != "roundtrip" || excluded(b) {
			if err == nil {
				t.Errorf("%s was taken as %v", text, v)
			}
			refused++
			continue
		}
		if err != nil {
			t.Errorf("%s was refused: %v", text, err)
			continue
		}
		again, err := Marshal(v)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s came back as %x, %v", text, again, err)
		}
		took++
	}
	if took < 40 || refused < 20 {
		t.Errorf("took %d, refused %d", took, refused)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, hex string
		want      error
	}{
		{"empty", "", ErrTruncated},
		{"cut head", "19 01", ErrTruncated},
		{"cut string", "43 0102", ErrTruncated},
		{"cut array", "82 01", ErrTruncated},
		{"huge string", "5b ffffffffffffffff", ErrTruncated},
		{"huge array", "9b 7fffffffffffffff", ErrTooMany},
		{"many elements", "9a 00020001", ErrTooMany},
		{"more elements than bytes", "99 1000 01", ErrTruncated},
		{"trailing", "01 01", ErrTrailing},
		{"long one-byte integer", "18 17", ErrNotShortest},
		{"long two-byte integer", "19 00ff", ErrNotShortest},
		{"long string length", "58 01 61", ErrNotShortest},
		{"indefinite string", "5f 41 01 ff", ErrIndefinite},
		{"indefinite array", "9f 01 ff", ErrIndefinite},
		{"indefinite map", "bf 01 01 ff", ErrIndefinite},
		{"duplicate key", "a2 01 01 01 02", ErrDuplicateKey},
		{"unsorted keys", "a2 02 01 01 02", ErrUnsorted},
		{"unsorted by length", "a2 62 6161 01 61 62 02", ErrUnsorted},
		{"tag", "c0 60", ErrForbidden},
		{"bignum", "c2 41 01", ErrForbidden},
		{"undefined", "f7", ErrForbidden},
		{"simple value", "f8 ff", ErrForbidden},
		{"ill-formed simple value", "f8 18", ErrMalformed},
		{"reserved head", "1c", ErrMalformed},
		{"float that fits in 16 bits", "fa 3f800000", ErrNotShortest},
		{"double that fits in 32 bits", "fb 3ff0000000000000", ErrNotShortest},
		{"long NaN", "fa 7fc00000", ErrNotShortest},
		{"odd NaN", "f9 7e01", ErrNotShortest},
		{"bad UTF-8", "62 c328", ErrUTF8},
		{"deep", strings.Repeat("81", MaxDepth+1) + "01", ErrTooDeep},
		{"very deep", strings.Repeat("81", 100_000) + "01", ErrTooDeep},
	} {
		var v any
		err := Unmarshal(unhex(t, strings.ReplaceAll(tc.hex, " ", "")), &v)
		var e *Error
		if !errors.Is(err, tc.want) || !errors.As(err, &e) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

type id [4]byte

func (i id) MarshalBinary() ([]byte, error) { return i[:], nil }
func (i *id) UnmarshalBinary(b []byte) error {
	if len(b) != len(i) {
		return errors.New("wrong length")
	}
	copy(i[:], b)
	return nil
}

func TestStructs(t *testing.T) {
	type pair struct {
		_    struct{} `cbor:",toarray"`
		ID   id
		Name string
		Data []byte
	}
	b, err := Marshal(&pair{ID: id{1, 2, 3, 4}, Name: "x"})
	if err != nil || hex.EncodeToString(b) != "834401020304617840" {
		t.Fatalf("%x, %v", b, err)
	}
	var p pair
	if err := Unmarshal(b, &p); err != nil || p.ID != (id{1, 2, 3, 4}) || p.Name != "x" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, bad := range map[string]string{
		"too few fields": "82 44 01020304 61 78", "too many": "84 44 01020304 61 78 40 01",
		"short id": "83 43 010203 61 78 40", "long id": "83 45 0102030405 61 78 40", "wrong type": "83 01 61 78 40",
	} {
		if err := Unmarshal(unhex(t, strings.ReplaceAll(bad, " ", "")), &pair{}); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	type named struct {
		A int `cbor:"a"`
	}
	if err := Unmarshal(unhex(t, "a2616101616201"), &named{}); !errors.Is(err, ErrContent) {
		t.Errorf("unknown field: %v", err)
	}
	if err := Unmarshal(unhex(t, "a1614101"), &named{}); !errors.Is(err, ErrContent) {
		t.Errorf("a field in another case: %v", err)
	}
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	for _, s := range []string{"", "one", strings.Repeat("x", 300_000)} {
		if err := WriteFrame(&buf, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(buf.Bytes())
	for _, want := range []int{0, 3, 300_000} {
		b, err := ReadFrame(&buf, 1<<20)
		if err != nil || len(b) != want {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
	if _, err := ReadFrame(&buf, 10); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := ReadFrame(bytes.NewReader(whole[4:]), 2); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("too large: %v", err)
	}
	for _, cut := range []int{1, 3, 5, 6, len(whole) - 1} {
		r := bytes.NewReader(whole[:cut])
		var err error
		for err == nil {
			_, err = ReadFrame(r, 1<<20)
		}
		if cut != 4 && err != io.ErrUnexpectedEOF {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	// A length that is only claimed allocates little.
	allocated := testing.AllocsPerRun(1, func() {
		_, err := ReadFrame(bytes.NewReader([]byte{0x3f, 0xff, 0xff, 0xff, 1}), 1<<30)
		if err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	})
	if allocated > 10 {
		t.Errorf("%v allocations", allocated)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{"00", "a10102", "83010203", "fb3ff199999999999a", "6161", "f6", "1bffffffffffffffff", "3bffffffffffffffff", "a201020304"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Check(b) != nil {
			return
		}
		var v any
		if err := Unmarshal(b, &v); err != nil {
			return // a map key that no Go map takes
		}
		again, err := Marshal(v)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x has another form, %x, %v", b, again, err)
		}
	})
}

// A Reader takes what Check does, and refuses the rest for the same reason,
// wherever the stream is cut into pieces.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"00", "a10102", "83010203", "fb3ff199999999999a", "6161", "f6", "1bffffffffffffffff", "a201020304", "824101420203", "5b7fffffffffffffff",
		"9b7fffffffffffffff", "bb8000000000000000", strings.Repeat("81", MaxDepth+1) + "01", "1800", "5f", "1c", "c000", "a2020301040000"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
		item, err := r.Item(uint64(len(b)))
		if err == nil {
			err = r.End()
		}
		want := Check(b)
		if (err == nil) != (want == nil) {
			t.Fatalf("%v, Check says %v", err, want)
		}
		if err == nil && (!bytes.Equal(item, b) || r.Offset() != len(b)) {
			t.Fatalf("%x, %d bytes read", item, r.Offset())
		}
		var reason *Error
		if err != nil && !errors.As(err, &reason) {
			t.Fatalf("an untyped error: %v", err)
		}
		if len(b) > 0 && err == nil {
			if _, err := NewReader(bytes.NewReader(b)).Item(uint64(len(b) - 1)); !errors.Is(err, ErrTooMany) {
				t.Fatalf("over the limit: %v", err)
			}
		}
		// A byte string, piece by piece, is the same as at once.
		if n, err := NewReader(bytes.NewReader(b)).String(); err == nil && n <= uint64(len(b)) && want == nil {
			r := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
			got, err := r.Bytes(nil, n)
			if err != nil || uint64(len(got)) != n || !bytes.HasSuffix(b, got) || r.End() != nil {
				t.Fatalf("%x, %v", got, err)
			}
			if n > 0 {
				if _, err := NewReader(bytes.NewReader(b)).Bytes(nil, n-1); !errors.Is(err, ErrTooMany) {
					t.Fatalf("over the limit: %v", err)
				}
			}
		}
	})
}

// A length that is only claimed takes no memory.
func TestReaderTakesMemoryAsBytesCome(t *testing.T) {
	for name, read := range map[string]func(*Reader) error{
		"an item":       func(r *Reader) error { _, err := r.Item(1 << 41); return err },
		"a byte string": func(r *Reader) error { _, err := r.Bytes(nil, 1<<40); return err },
		"its bytes":     func(r *Reader) error { n, _ := r.String(); _, err := r.Take(n); return err },
	} {
		claim := append(unhex(t, "5b000000ffffffffff"), make([]byte, 3<<20)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := read(NewReader(bytes.NewReader(claim))); !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%s took %d bytes", name, n)
		}
	}
}
