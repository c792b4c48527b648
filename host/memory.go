package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"wasmhost/host/internal/sandbox"
	"wasmhost/wire/canon"
)

// capturer is a Daemon whose memory the runtime captures itself.
type capturer interface {
	saveMemory() ([]byte, error)

	// loadMemory makes the memory what saveMemory gave, with the changes since
	// that saveChanges gave, in order.
	loadMemory(saved []byte, changes ...[]byte) error

	// track begins anew to note what changes. saveChanges gives what did since
	// track or the last saveChanges.
	track() error
	saveChanges() ([]byte, error)
}

// memoryState is the canonical CBOR form of a captured guest: its module's
// image, by hash, and what differs from it.
type memoryState struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Image   []byte // sandbox.State.Image
	Size    uint64
	Globals []uint64
	Tables  [][]byte // a table's elements, 4 bytes each, little-endian
	Buffer  uint32
	Room    uint32
	Chunks  []memoryChunk
}

// memoryChunk is a number of blocks: at least 1, at most chunkBlocks.
type memoryChunk struct {
	_      struct{} `cbor:",toarray"`
	Index  []byte   // of each block, 4 bytes, little-endian
	Blocks []byte   // the blocks, zstd (RFC 8878)
}

const (
	memoryVersion = 1
	chunkBlocks   = 256 // 1 MiB
)

// ErrBadMemory says that bytes are no captured memory.
var ErrBadMemory = errors.New("not a captured memory")

var memoryCoder = sync.OnceValue(func() (c struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}) {
	var err error
	if c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false)); err != nil {
		panic(err) // the options are constants
	}
	if c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(chunkBlocks*sandbox.BlockBytes), zstd.WithDecodeAllCapLimit(true)); err != nil {
		panic(err)
	}
	return c
})

func encodeMemory(s *sandbox.State) ([]byte, error) {
	m := &memoryState{Version: memoryVersion, Image: s.Image[:], Size: s.Size, Globals: s.Globals, Buffer: s.Buffer, Room: s.Room}
	for _, t := range s.Tables {
		m.Tables = append(m.Tables, appendU32s(nil, t))
	}
	index, blocks := s.Index, s.Blocks
	for len(index) > 0 {
		n := min(len(index), chunkBlocks)
		size := n * sandbox.BlockBytes
		m.Chunks = append(m.Chunks, memoryChunk{Index: appendU32s(nil, index[:n]), Blocks: memoryCoder().enc.EncodeAll(blocks[:size], nil)})
		index, blocks = index[n:], blocks[size:]
	}
	return canon.Marshal(m)
}

func appendU32s(b []byte, v []uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// decodeMemory reads what encodeMemory wrote; limit bounds the memory, in
// bytes. Every error wraps ErrBadMemory.
func decodeMemory(b []byte, limit int64) (*sandbox.State, error) {
	var m memoryState
	if err := canon.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	if m.Version != memoryVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadMemory, m.Version, memoryVersion)
	}
	if len(m.Image) != 32 || int64(m.Size) < 0 || int64(m.Size) > limit {
		return nil, fmt.Errorf("%w: %d bytes of memory, at most %d", ErrBadMemory, m.Size, limit)
	}
	s := &sandbox.State{Image: [32]byte(m.Image), Size: m.Size, Globals: m.Globals, Buffer: m.Buffer, Room: m.Room}
	for _, t := range m.Tables {
		elements, err := readU32s(t)
		if err != nil {
			return nil, err
		}
		s.Tables = append(s.Tables, elements)
	}
	var room []byte
	for k := range m.Chunks {
		var err error
		if room, err = m.Chunks[k].appendTo(s, limit, room); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// appendTo adds the chunk's blocks to s, whose size is known. It decompresses
// into room, which it returns, grown.
func (c *memoryChunk) appendTo(s *sandbox.State, limit int64, room []byte) ([]byte, error) {
	index, err := readU32s(c.Index)
	if err != nil {
		return nil, err
	}
	n := len(index)
	if n == 0 || n > chunkBlocks || int64(len(s.Index)+n)*sandbox.BlockBytes > limit {
		return nil, fmt.Errorf("%w: a chunk of %d blocks", ErrBadMemory, n)
	}
	for _, b := range index {
		if k := len(s.Index); k > 0 && b <= s.Index[k-1] || (uint64(b)+1)*sandbox.BlockBytes > s.Size {
			return nil, fmt.Errorf("%w: block %d out of order, or outside", ErrBadMemory, b)
		}
		s.Index = append(s.Index, b)
	}
	size := n * sandbox.BlockBytes
	if cap(room) < size {
		room = make([]byte, size)
	}
	blocks, err := memoryCoder().dec.DecodeAll(c.Blocks, room[:0:size])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	if len(blocks) != size {
		return nil, fmt.Errorf("%w: %d bytes for %d blocks", ErrBadMemory, len(blocks), n)
	}
	s.Blocks = append(s.Blocks, blocks...)
	return room, nil
}

func readU32s(b []byte) ([]uint32, error) {
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("%w: %d bytes of numbers of 4", ErrBadMemory, len(b))
	}
	out := make([]uint32, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		out = append(out, binary.LittleEndian.Uint32(b))
	}
	return out, nil
}
