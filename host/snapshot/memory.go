package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/internal/canon"

	"github.com/klauspost/compress/zstd"
)

// A captured guest is its module's image, by hash, and what differs from it:
// in canonical CBOR an array of the fields of memoryHead and then an array of
// chunks. A chunk is an array of the indices of 1 to chunkBlocks blocks, 4 bytes
// each, little-endian, and of the blocks, zstd (RFC 8878).
type memoryHead struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Image   []byte // sandbox.State.Image
	Size    uint64
	Globals []uint64
	Tables  [][]byte // a table's elements, 4 bytes each, little-endian
	Buffer  uint32
	Room    uint32
}

const (
	headFields = 7
	maxHead    = 64 << 20 // bytes of a captured memory's registers and tables
)

const (
	memoryVersion = 1
	ChunkBlocks   = 256 // 1 MiB
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
	if c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(ChunkBlocks*sandbox.BlockBytes), zstd.WithDecodeAllCapLimit(true)); err != nil {
		panic(err)
	}
	return c
})

// MemoryWriter writes what a guest is, piece by piece.
type MemoryWriter struct {
	w    io.Writer
	buf  []byte // reused
	room []byte // reused
}

// NewMemoryWriter returns a writer of captured memory to w.
func NewMemoryWriter(w io.Writer) *MemoryWriter { return &MemoryWriter{w: w} }

// Begin writes what the guest is but for its blocks, of which chunks follow.
func (m *MemoryWriter) Begin(s *sandbox.State) error {
	h := &memoryHead{Version: memoryVersion, Image: s.Image[:], Size: s.Size, Globals: s.Globals, Buffer: s.Buffer, Room: s.Room}
	for _, t := range s.Tables {
		h.Tables = append(h.Tables, appendU32s(nil, t))
	}

	b, err := canon.Marshal(h)
	if err != nil {
		return err
	}

	b[0]++ // an array of one more
	_, err = m.w.Write(canon.AppendHead(b, 4, uint64((len(s.Index)+ChunkBlocks-1)/ChunkBlocks)))
	return err
}

// Chunk writes at most chunkBlocks blocks.
func (m *MemoryWriter) Chunk(index []uint32, blocks []byte) error {
	m.room = memoryCoder().enc.EncodeAll(blocks, m.room[:0])
	m.buf = canon.AppendHead(append(m.buf[:0], 0x82), 2, uint64(4*len(index)))
	m.buf = canon.AppendHead(appendU32s(m.buf, index), 2, uint64(len(m.room)))
	if _, err := m.w.Write(m.buf); err != nil {
		return err
	}

	_, err := m.w.Write(m.room)
	runtime.Gosched() // see follow
	return err
}

func appendU32s(b []byte, v []uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// MemoryReader reads what a MemoryWriter wrote, piece by piece. Every error
// that is not of the underlying reader wraps ErrBadMemory.
type MemoryReader struct {
	r     *canon.Reader
	limit int64          // of the memory, bytes
	State *sandbox.State // without the blocks
	Left  uint64         // chunks that Next has still to return
	last  int64          // index of the last block; -1 before the first
	count int64          // blocks so far

	index         []uint32
	sealed, plain []byte // reused
}

// ReadMemory reads all but the blocks.
func ReadMemory(r io.Reader, limit int64) (*MemoryReader, error) {
	m := &MemoryReader{r: canon.NewReader(r), limit: limit, last: -1}
	n, err := m.r.Array()
	if err == nil && n != headFields+1 {
		err = fmt.Errorf("%w: an array of %d", ErrBadMemory, n)
	}

	b := []byte{0x80 | headFields}
	for range headFields {
		var item []byte
		if err == nil {
			item, err = m.r.Item(maxHead)
		}
		b = append(b, item...)
	}

	if err == nil {
		m.Left, err = m.r.Array()
	}

	if err != nil {
		return nil, badMemory(err)
	}

	var h memoryHead
	if err := canon.Unmarshal(b, &h); err != nil {
		return nil, badMemory(err)
	}
	if h.Version != memoryVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadMemory, h.Version, memoryVersion)
	}
	if len(h.Image) != 32 || int64(h.Size) < 0 || int64(h.Size) > limit {
		return nil, fmt.Errorf("%w: %d bytes of memory, at most %d", ErrBadMemory, h.Size, limit)
	}
	if m.Left > h.Size/sandbox.BlockBytes {
		return nil, fmt.Errorf("%w: %d chunks of a memory of %d bytes", ErrBadMemory, m.Left, h.Size)
	}

	m.State = &sandbox.State{Image: [32]byte(h.Image), Size: h.Size, Globals: h.Globals, Buffer: h.Buffer, Room: h.Room}
	for _, t := range h.Tables {
		elements, err := readU32s(nil, t)
		if err != nil {
			return nil, err
		}
		m.State.Tables = append(m.State.Tables, elements)
	}

	return m, nil
}

// badMemory wraps what is wrong with the bytes; what is wrong with the reader
// is left as it is.
func badMemory(err error) error {
	var form *canon.Error
	if errors.As(err, &form) || errors.Is(err, canon.ErrContent) {
		return fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	return err
}

// Keep leaves to the caller the blocks that Next returned last.
func (m *MemoryReader) Keep() { m.plain = nil }

// Next returns the next blocks, which are valid until it is called again, and
// io.EOF after the last. Who calls Keep has the blocks for good.
func (m *MemoryReader) Next() (index []uint32, blocks []byte, err error) {
	if m.Left == 0 {
		if err := m.r.End(); err != nil {
			return nil, nil, badMemory(err)
		}
		return nil, nil, io.EOF
	}

	m.Left--
	n, err := m.r.Array()
	if err == nil && n != 2 {
		err = fmt.Errorf("%w: a chunk of %d parts", ErrBadMemory, n)
	}

	if err == nil {
		m.sealed, err = m.r.Bytes(m.sealed, 4*ChunkBlocks)
	}

	if err != nil {
		return nil, nil, badMemory(err)
	}
	if m.index, err = readU32s(m.index[:0], m.sealed); err != nil {
		return nil, nil, err
	}
	if err := m.checkIndex(); err != nil {
		return nil, nil, err
	}

	size := len(m.index) * sandbox.BlockBytes
	if m.sealed, err = m.r.Bytes(m.sealed, maxSealed); err != nil {
		return nil, nil, badMemory(err)
	}
	if cap(m.plain) < size {
		m.plain = make([]byte, size)
	}

	out, err := memoryCoder().dec.DecodeAll(m.sealed, m.plain[:0:size])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	if len(out) != size {
		return nil, nil, fmt.Errorf("%w: %d bytes for %d blocks", ErrBadMemory, len(out), len(m.index))
	}

	return m.index, out, nil
}

// maxSealed is how many bytes a chunk of blocks can take that do not compress.
const maxSealed = ChunkBlocks*sandbox.BlockBytes + 64<<10

func (m *MemoryReader) checkIndex() error {
	n := int64(len(m.index))
	if n == 0 || (m.count+n)*sandbox.BlockBytes > m.limit {
		return fmt.Errorf("%w: a chunk of %d blocks", ErrBadMemory, n)
	}

	for _, b := range m.index {
		if int64(b) <= m.last || (uint64(b)+1)*sandbox.BlockBytes > m.State.Size {
			return fmt.Errorf("%w: block %d out of order, or outside", ErrBadMemory, b)
		}
		m.last = int64(b)
	}

	m.count += n
	return nil
}

// readU32s appends the numbers to out.
func readU32s(out []uint32, b []byte) ([]uint32, error) {
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("%w: %d bytes of numbers of 4", ErrBadMemory, len(b))
	}
	out = slices.Grow(out, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		out = append(out, binary.LittleEndian.Uint32(b))
	}
	return out, nil
}
