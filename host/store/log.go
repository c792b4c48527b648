package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The engine takes the first chunk of its log that does not hold for the end of
// the log, torn by a crash, unless a chunk in a later block of 32 KiB says that
// what was before it had been synced. In the last block it looks no further: a
// bit that flipped there would take back, without a word, what was acknowledged.
// So the logs are read before the engine opens them. The format is that of
// pebble's record package, wal-sync chunks; its tests pin it here.

const (
	logBlock  = 32 << 10
	logHeader = 19 // crc 4, length 2, type 1, log number 4, synced offset 8
	logFirst  = 9  // the types of wal-sync chunks: full, first, middle, last
	logLast   = 12
)

// checkLogs returns ErrCorrupt where a log of the engine is damaged before what
// it says was synced.
func checkLogs(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}

	for _, name := range names {
		base, ok := strings.CutSuffix(name, ".log")
		number, err := strconv.ParseUint(base, 10, 32)
		if !ok || err != nil {
			continue
		}

		b, err := readWhole(fs, fs.PathJoin(dir, name))
		if err != nil {
			return err
		}
		if at, synced := damage(b, uint32(number)); synced > at {
			return fmt.Errorf("%w: the log %s is damaged at byte %d, and was synced up to byte %d: all that follows is acknowledged and cannot be read; "+
				"to go on without it, cut the file off there", ErrCorrupt, fs.PathJoin(dir, name), at, synced)
		}
	}

	return nil
}

func readWhole(fs vfs.FS, path string) (b []byte, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}

// damage returns where the log's first chunk is that does not hold, and up to
// where the chunks behind it show that the log was synced; 0 where they do not.
//
// A chunk says up to where the log was synced when it was made, but the engine
// counts too little there: not what it wrote of blocks that were full. So what
// grows from chunk to chunk is looked at as well. Where a second chunk says more
// than a first, a sync ended between the two; where a third says more again,
// another did, which began after the one before had ended, and so after the first
// chunk was made: it covered all before that chunk.
func damage(b []byte, number uint32) (at, synced uint64) {
	pos := 0
	for pos < len(b) {
		if left := logBlock - pos%logBlock; left < logHeader { // no chunk fits
			pos += left
			continue
		}

		end, _, ok := chunkAt(b, pos, number)
		if !ok {
			break
		}

		pos = end
	}

	at = uint64(pos)
	first, said, grew := 0, uint64(0), 0
	for next := pos + 1; next+logHeader <= len(b); next++ {
		// What a chunk says was synced is before the chunk.
		_, s, ok := chunkAt(b, next, number)
		if !ok || s > uint64(next) {
			continue
		}

		synced = max(synced, s)
		switch {
		case first == 0:
			first, said = next, s
		case s > said:
			said = s
			grew++
		}
	}

	if grew >= 2 {
		synced = max(synced, uint64(first))
	}
	return at, synced
}

// chunkAt reads the chunk at pos: where it ends and what it says was synced. ok
// is false where there is none that holds.
func chunkAt(b []byte, pos int, number uint32) (end int, synced uint64, ok bool) {
	if pos+logHeader > len(b) {
		return 0, 0, false
	}

	h := b[pos : pos+logHeader]
	if h[6] < logFirst || h[6] > logLast || binary.LittleEndian.Uint32(h[7:]) != number {
		return 0, 0, false
	}

	end = pos + logHeader + int(binary.LittleEndian.Uint16(h[4:]))
	if end > len(b) || (end-1)/logBlock != pos/logBlock || binary.LittleEndian.Uint32(h) != logSum(b[pos+6:end]) {
		return 0, 0, false
	}
	return end, binary.LittleEndian.Uint64(h[11:]), true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logSum is the masked CRC-32C of LevelDB's logs.
func logSum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
