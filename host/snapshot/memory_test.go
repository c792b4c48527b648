package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/internal/canon"

	"github.com/klauspost/compress/zstd"
)

func someState(blocks int) *sandbox.State {
	s := &sandbox.State{Image: [32]byte{9}, Size: 64 << 20, Globals: []uint64{1, 1 << 63}, Tables: [][]uint32{{0, 3, 1}, {}}, Buffer: 4096, Room: 1024}
	for b := range blocks {
		s.Index = append(s.Index, uint32(b*2))
		s.Blocks = append(s.Blocks, bytes.Repeat([]byte{byte(b), 1}, sandbox.BlockBytes/2)...)
	}
	return s
}

// memoryState is the whole form at once, for the canonical encoder.
type memoryState struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Image   []byte
	Size    uint64
	Globals []uint64
	Tables  [][]byte
	Buffer  uint32
	Room    uint32
	Chunks  []memoryChunk
}

type memoryChunk struct {
	_      struct{} `cbor:",toarray"`
	Index  []byte
	Blocks []byte
}

func encoded(t testing.TB, s *sandbox.State) []byte {
	t.Helper()
	var out bytes.Buffer
	m := &MemoryWriter{w: &out}
	err := m.Begin(s)
	for k := 0; k < len(s.Index) && err == nil; k += ChunkBlocks {
		end := min(len(s.Index), k+ChunkBlocks)
		err = m.Chunk(s.Index[k:end], s.Blocks[k*sandbox.BlockBytes:end*sandbox.BlockBytes])
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decodeMemory(b []byte, limit int64) (*sandbox.State, error) {
	m, err := ReadMemory(bytes.NewReader(b), limit)
	if err != nil {
		return nil, err
	}
	for {
		index, blocks, err := m.Next()
		if err == io.EOF {
			return m.State, nil
		}
		if err != nil {
			return nil, err
		}
		m.State.Index, m.State.Blocks = append(m.State.Index, index...), append(m.State.Blocks, blocks...)
	}
}

// What is written piece by piece is the canonical form of the whole.
func TestCapturedMemoryIsCanonical(t *testing.T) {
	for _, blocks := range []int{0, 1, ChunkBlocks, 25 * ChunkBlocks} {
		b := encoded(t, someState(blocks))
		var whole memoryState
		if err := canon.Unmarshal(b, &whole); err != nil {
			t.Fatalf("%d blocks: %v", blocks, err)
		}
		if again, err := canon.Marshal(&whole); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%d blocks: %d bytes, written at once %d, %v", blocks, len(b), len(again), err)
		}
	}
	if err := canon.Check(encoded(t, &sandbox.State{})); err != nil {
		t.Errorf("an empty state: %v", err)
	}
}

// However large a memory is, writing and reading it takes little more.
func TestCapturedMemoryIsStreamed(t *testing.T) {
	s := someState(40 * ChunkBlocks)
	s.Size = 160 << 20
	r := rand.New(rand.NewPCG(1, 2))
	for k := 0; k < len(s.Blocks); k += 8 { // what does not compress
		binary.LittleEndian.PutUint64(s.Blocks[k:], r.Uint64())
	}
	b := encoded(t, s)
	if len(b) < 40<<20 {
		t.Fatalf("it takes %d bytes: it says nothing", len(b))
	}
	memoryCoder() // whose own memory is not of one capture
	for name, work := range map[string]func() error{
		"writing": func() error {
			m := &MemoryWriter{w: io.Discard}
			err := m.Begin(s)
			for k := 0; k < len(s.Index) && err == nil; k += ChunkBlocks {
				err = m.Chunk(s.Index[k:k+ChunkBlocks], s.Blocks[k*sandbox.BlockBytes:(k+ChunkBlocks)*sandbox.BlockBytes])
			}
			return err
		},
		"reading": func() error {
			m, err := ReadMemory(bytes.NewReader(b), 160<<20)
			for err == nil {
				_, _, err = m.Next()
			}
			if err == io.EOF {
				err = nil
			}
			return err
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := work(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 {
			t.Errorf("%s 40 MiB took %d bytes", name, n)
		}
	}
}

// The error of the reader is not one of what it read.
func TestCapturedMemoryOfABadReader(t *testing.T) {
	b, bad := encoded(t, someState(2*ChunkBlocks)), errors.New("the disk is bad")
	for n := 0; n < len(b); n += 1 + n/9 {
		m, err := ReadMemory(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(bad)), 64<<20)
		for err == nil {
			_, _, err = m.Next()
		}
		if !errors.Is(err, bad) || errors.Is(err, ErrBadMemory) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if _, err := decodeMemory(b[:n], 64<<20); !errors.Is(err, ErrBadMemory) {
			t.Fatalf("only %d bytes: %v", n, err)
		}
	}
}

func TestCapturedMemoryComesBack(t *testing.T) {
	for _, blocks := range []int{0, 1, ChunkBlocks, ChunkBlocks + 1, 3 * ChunkBlocks} {
		s := someState(blocks)
		got, err := decodeMemory(encoded(t, s), 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Globals, s.Globals) || !slices.Equal(got.Index, s.Index) || !bytes.Equal(got.Blocks, s.Blocks) ||
			got.Image != s.Image || got.Size != s.Size || got.Buffer != s.Buffer || got.Room != s.Room ||
			len(got.Tables) != 2 || !slices.Equal(got.Tables[0], s.Tables[0]) || len(got.Tables[1]) != 0 {
			t.Errorf("%d blocks: it differs", blocks)
		}
	}
}

// malformed are captures that an honest host does not make.
func malformed(t testing.TB) map[string][]byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zeros := func(n int) []byte { return enc.EncodeAll(make([]byte, n), nil) }
	index := func(n ...uint32) []byte { return appendU32s(nil, n) }
	many := make([]byte, 4*ChunkBlocks)
	for k := range ChunkBlocks {
		binary.LittleEndian.PutUint32(many[4*k:], uint32(k))
	}
	honest := func() *memoryState {
		return &memoryState{Version: memoryVersion, Image: make([]byte, 32), Size: 1 << 20,
			Chunks: []memoryChunk{{Index: index(1), Blocks: zeros(sandbox.BlockBytes)}}}
	}
	out := map[string][]byte{"nothing": {}, "text": []byte("hello")}
	for name, change := range map[string]func(m *memoryState){
		"another version":        func(m *memoryState) { m.Version++ },
		"a short hash":           func(m *memoryState) { m.Image = m.Image[1:] },
		"too much memory":        func(m *memoryState) { m.Size = 1<<20 + 1 },
		"negative memory":        func(m *memoryState) { m.Size = 1 << 63 },
		"part of a table's item": func(m *memoryState) { m.Tables = [][]byte{{1, 2, 3}} },
		"an empty chunk":         func(m *memoryState) { m.Chunks[0].Index = nil },
		"part of an index":       func(m *memoryState) { m.Chunks[0].Index = []byte{1} },
		"no compression":         func(m *memoryState) { m.Chunks[0].Blocks = make([]byte, sandbox.BlockBytes) },
		"less than it says":      func(m *memoryState) { m.Chunks[0].Blocks = zeros(sandbox.BlockBytes - 1) },
		"more than it says":      func(m *memoryState) { m.Chunks[0].Blocks = zeros(sandbox.BlockBytes + 1) },
		"a bomb":                 func(m *memoryState) { m.Chunks[0].Blocks = zeros(1 << 30) },
		"a bomb of many frames":  func(m *memoryState) { m.Chunks[0].Blocks = bytes.Repeat(zeros(1<<20), 1000) },
		"more blocks than a chunk has": func(m *memoryState) {
			m.Chunks[0] = memoryChunk{Index: append(index(9), many...), Blocks: zeros((ChunkBlocks + 1) * sandbox.BlockBytes)}
		},
		"more blocks than memory": func(m *memoryState) {
			full := memoryChunk{Index: many, Blocks: zeros(ChunkBlocks * sandbox.BlockBytes)}
			m.Chunks = []memoryChunk{full, full}
		},
		"blocks out of order": func(m *memoryState) {
			m.Chunks[0] = memoryChunk{Index: index(2, 1), Blocks: zeros(2 * sandbox.BlockBytes)}
		},
		"chunks out of order": func(m *memoryState) { m.Chunks = append(m.Chunks, m.Chunks[0]) },
	} {
		m := honest()
		change(m)
		b, err := canon.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

func TestMalformedCapturesAreRefused(t *testing.T) {
	for name, b := range malformed(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := decodeMemory(b, 1<<20); !errors.Is(err, ErrBadMemory) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("%s: refusing it took %d bytes", name, n)
		}
	}
}

// FuzzDecodeMemory: nothing panics, errors are ErrBadMemory, and what is read
// is within its bounds and is written as it was read, but for compression.
func FuzzDecodeMemory(f *testing.F) {
	for _, b := range malformed(f) {
		if len(b) < 100_000 {
			f.Add(b)
		}
	}
	f.Add([]byte("\x880000000\x81")) // numbers below zero
	small := someState(3)
	small.Size = 1 << 20
	f.Add(encoded(f, small))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		s, err := decodeMemory(b, limit)
		if err != nil {
			if !errors.Is(err, ErrBadMemory) {
				t.Fatal(err)
			}
			return
		}
		if s.Size > limit || len(s.Blocks) > limit || len(s.Blocks) != len(s.Index)*sandbox.BlockBytes || !slices.IsSorted(s.Index) {
			t.Fatalf("out of bounds: %d bytes, %d of %d blocks", s.Size, len(s.Blocks), len(s.Index))
		}
		again, err := decodeMemory(encoded(t, s), limit)
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}
