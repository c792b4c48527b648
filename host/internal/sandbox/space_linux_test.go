package sandbox

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// spaces are the kinds of space, with which each test of them runs.
func eachSpace(t *testing.T, test func(t *testing.T, e *Engine, img *Image, limit uint64, s space)) {
	const limit = 8 << 20
	for _, kind := range []string{"mapped", "mapped without notes of writes", "heap"} {
		t.Run(kind, func(t *testing.T) {
			e := engineOf(t, Config{Heap: kind == "heap"})
			if kind != "heap" && e.mapping == nil {
				t.Skip("this kernel has no mapped spaces: ", e.Heap())
			}
			r := rand.New(rand.NewPCG(3, 4))
			img := &Image{size: 3 << 20, bytes: make([]byte, 2<<20+blockBytes), fd: -1}
			for i := 0; i < len(img.bytes); i += 1 + r.IntN(5000) { // some blocks stay zero
				img.bytes[i] = byte(r.Uint32())
			}
			var s space = newHeapSpace(img, limit)
			if e.mapping != nil {
				if kind != "mapped" {
					e.mapping.noUffd.Store(true)
				}
				if err := e.mapping.share(img); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := img.close(); err != nil {
						t.Error(err)
					}
				})
				var err error
				if s, err = e.mapping.space(img, limit); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(s.free)
			test(t, e, img, limit, s)
		})
	}
}

// missed returns a block that differs from the base and that tell, which is
// s.changed or s.mark, does not tell of, or -1.
func missed(t *testing.T, s space, tell func(func(first, n uint32)) error, base []byte) (block int, told int) {
	t.Helper()
	told = 0
	in := make(map[uint32]bool)
	if err := tell(func(first, n uint32) {
		for b := first; b < first+n; b++ {
			in[b] = true
			told++
		}
	}); err != nil {
		t.Fatal(err)
	}
	mem := s.bytes()
	for off := 0; off < len(mem); off += blockBytes {
		then := zeroBlock[:]
		if off < len(base) {
			then = base[off : off+blockBytes]
		}
		if !bytes.Equal(mem[off:off+blockBytes], then) && !in[uint32(off/blockBytes)] {
			return off / blockBytes, told
		}
	}
	return -1, told
}

func whole(img *Image) []byte {
	return append(make([]byte, 0, img.size), append(bytes.Clone(img.bytes), make([]byte, img.size-uint64(len(img.bytes)))...)...)
}

// A toy model beside each kind of space: writes, reads, growth, shrinking,
// discarding and marks at random. The space tells of every block that differs
// from the last mark, and few others where it can.
func TestSpacesTellWhatChanged(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	eachSpace(t, func(t *testing.T, _ *Engine, img *Image, limit uint64, s space) {
		model := whole(img)
		if !bytes.Equal(s.bytes(), model) {
			t.Fatal("it does not begin as the image")
		}
		base, least := bytes.Clone(model), uint64(len(model))
		r := rand.New(rand.NewPCG(5, 6))
		marks, armed := 0, false
		for step := range 3000 {
			switch n := r.IntN(100); {
			case n < 50: // a write, short or of several blocks
				from := r.IntN(len(model))
				to := min(len(model), from+1+r.IntN(1<<r.IntN(16)))
				for i := from; i < to; i += 1 + r.IntN(1000) {
					model[i]++
					s.bytes()[i]++
				}
			case n < 65: // a read, which fetches a page and changes none
				if off := r.IntN(len(model)); s.bytes()[off] != model[off] {
					t.Fatalf("step %d: byte %#x differs", step, off)
				}
			case n < 75: // growth
				size := uint64(len(model)) + uint64(r.IntN(4))*pageSize
				if got := s.resize(size); got != (size <= limit) {
					t.Fatalf("step %d: growth to %d bytes of %d: %v", step, size, limit, got)
				} else if got {
					model = append(model, make([]byte, size-uint64(len(model)))...)
				}
			case n < 82: // back to the size at the mark
				if !s.resize(least) {
					t.Fatalf("step %d: it does not shrink", step)
				}
				model = model[:least:least]
			case n < 90:
				blocks := uint32(len(model) / blockBytes)
				first := r.Uint32N(blocks)
				k := uint32(0)
				for most := r.Uint32N(200); k < most && first+k < blocks; k++ { // of those that the mark has from the image
					if off := uint64(first+k) * blockBytes; off < uint64(len(base)) && !bytes.Equal(base[off:off+blockBytes], img.block(first + k)[:]) {
						break
					}
				}
				s.discard(first, k)
				for b := first; b < first+k; b++ {
					copy(model[uint64(b)*blockBytes:], img.block(b)[:])
				}
			default:
				if b, _ := missed(t, s, s.mark, base); b >= 0 {
					t.Fatalf("step %d, mark %d, armed %v: block %d changed, and it does not tell", step, marks, armed, b)
				}
				marks++
				if m, ok := s.(*mappedSpace); ok && m.armed {
					armed = true
					base, least = bytes.Clone(model), uint64(len(model))
				}
			}
			if step%7 == 0 {
				if b, _ := missed(t, s, s.changed, base); b >= 0 {
					t.Fatalf("step %d, %d marks, armed %v: block %d changed, and it does not tell", step, marks, armed, b)
				}
			}
		}
		if !bytes.Equal(s.bytes(), model) {
			t.Fatal("it is not as the model at the end")
		}
		if m, ok := s.(*mappedSpace); ok && m.m.uffd >= 0 && !m.m.noUffd.Load() && !armed {
			t.Error("its writes were never noted")
		}
	})
}

// What a mapped space tells is what was written, and little more: before and
// after it notes writes.
func TestMappedSpacesTellLittleElse(t *testing.T) {
	eachSpace(t, func(t *testing.T, _ *Engine, img *Image, _ uint64, s space) {
		m, mapped := s.(*mappedSpace)
		if !mapped {
			t.Skip("a space on the heap tells all")
		}
		sum := 0
		for _, b := range s.bytes() { // fetch all
			sum += int(b)
		}
		for n := range 10 {
			s.bytes()[n*100*blockBytes/2]++
		}
		if _, told := missed(t, s, s.changed, whole(img)); told != 10 {
			t.Errorf("%d blocks of 10 (%d)", told, sum&1)
		}
		for n := range armAt {
			s.bytes()[n*blockBytes]++
		}
		if err := s.mark(func(uint32, uint32) {}); err != nil {
			t.Fatal(err)
		}
		if m.armed != (m.m.uffd >= 0 && !m.m.noUffd.Load()) {
			t.Fatalf("armed: %v", m.armed)
		}
		if !m.armed {
			return
		}
		base := bytes.Clone(s.bytes())
		for n := range 7 {
			s.bytes()[n*50*blockBytes]++
		}
		if b, told := missed(t, s, s.changed, base); b >= 0 || told != 7 {
			t.Errorf("%d blocks of 7, missed %d", told, b)
		}
	})
}

// Growth shows zeros, also where there was something before shrinking.
func TestWhatShrinksIsForgotten(t *testing.T) {
	eachSpace(t, func(t *testing.T, _ *Engine, img *Image, limit uint64, s space) {
		for range 3 {
			if !s.resize(limit) {
				t.Fatal("no room up to the limit")
			}
			if !bytes.Equal(s.bytes()[img.size:], make([]byte, limit-img.size)) {
				t.Fatal("new memory is not zero")
			}
			if s.resize(limit + pageSize) {
				t.Fatal("it grew beyond the limit")
			}
			if uint64(len(s.bytes())) != limit {
				t.Fatal("a refused growth changed its size")
			}
			for i := range s.bytes() {
				s.bytes()[i] = 0xff
			}
			if err := s.mark(func(uint32, uint32) {}); err != nil {
				t.Fatal(err)
			}
			if !s.resize(img.size) {
				t.Fatal("it does not shrink")
			}
			s.discard(0, uint32(img.size/blockBytes))
			if !bytes.Equal(s.bytes(), whole(img)) {
				t.Fatal("what is discarded is not as the image")
			}
		}
	})
}
