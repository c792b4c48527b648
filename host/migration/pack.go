package migration

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Pack compresses blocks into room, which it may replace. S2 keeps up with a
// fast network, where zstd does not.
func Pack(room, blocks []byte) []byte {
	if n := s2.MaxEncodedLen(len(blocks)); cap(room) < n {
		room = make([]byte, n)
	}
	return s2.Encode(room[:cap(room)], blocks)
}

// Plain returns the blocks, uncompressed. Where they did not come compressed they
// are the message's own. An error wraps ErrBadMessage.
func (m *Blocks) Plain() ([]byte, error) {
	if !m.S2 {
		return m.Bytes, nil
	}

	want := len(m.Index) / 4 * BlockBytes
	n, err := s2.DecodedLen(m.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: Blocks: %w", ErrBadMessage, err)
	}
	if n != want {
		return nil, fmt.Errorf("%w: Blocks of %d bytes where %d should be", ErrBadMessage, n, want)
	}

	b, err := s2.Decode(make([]byte, want), m.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: Blocks: %w", ErrBadMessage, err)
	}
	return b, nil
}
