package sandbox

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// treeLevels is the height of the tree: 2^20 blocks of 4 KiB are 4 GiB.
const treeLevels = 20

// tree is a Merkle tree (RFC 6962's way of telling leaves from nodes) over the
// blocks of a memory of 4 GiB, in which what is zero takes no room. A memory
// that differs from an image in a few blocks has its root for the price of
// those.
type tree struct {
	levels [treeLevels + 1]map[uint32][32]byte // of what is not zero; leaves at 0
}

var zeroNodes = func() (z [treeLevels + 1][32]byte) {
	z[0] = leafHash(&zeroBlock)
	for l := range treeLevels {
		z[l+1] = nodeHash(&z[l], &z[l])
	}
	return z
}()

func leafHash(b *block) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(b[:])
	return [32]byte(h.Sum(nil))
}

func nodeHash(left, right *[32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

func newTree(img *Image) tree {
	leaves := make(map[uint32][32]byte)
	for b := range uint32(len(img.bytes) / blockBytes) {
		if blk := img.block(b); *blk != zeroBlock {
			leaves[b] = leafHash(blk)
		}
	}
	var t tree
	for l := range treeLevels + 1 {
		t.levels[l] = leaves
		if l < treeLevels {
			leaves = t.parents(l, leaves)
		}
	}
	return t
}

// node returns a node of level l: from changed, of the image, or zero.
func (t *tree) node(l int, i uint32, changed map[uint32][32]byte) [32]byte {
	if h, ok := changed[i]; ok {
		return h
	}
	if h, ok := t.levels[l][i]; ok {
		return h
	}
	return zeroNodes[l]
}

// parents returns the nodes of level l+1 above the changed ones of level l.
func (t *tree) parents(l int, changed map[uint32][32]byte) map[uint32][32]byte {
	up := make(map[uint32][32]byte, (len(changed)+1)/2)
	for i := range changed {
		if _, done := up[i/2]; done {
			continue
		}
		left, right := t.node(l, i&^1, changed), t.node(l, i|1, changed)
		up[i/2] = nodeHash(&left, &right)
	}
	return up
}

// root returns the hash of a state: the image with other blocks, registers and
// size of memory.
func (t *tree) root(regs *registers, size uint64, changed map[uint32]*block) [32]byte {
	level := make(map[uint32][32]byte, len(changed))
	for b, blk := range changed {
		level[b] = leafHash(blk)
	}
	for l := range treeLevels {
		level = t.parents(l, level)
	}
	return stateRoot(t.node(treeLevels, 0, level), regs, size)
}

// stateRoot is the hash of a state whose memory's tree has top.
func stateRoot(top [32]byte, regs *registers, size uint64) [32]byte {
	b := append([]byte("wasmhost state 1\x00"), top[:]...)
	b = binary.LittleEndian.AppendUint64(b, size)
	b = binary.LittleEndian.AppendUint32(b, regs.buf)
	b = binary.LittleEndian.AppendUint32(b, regs.cap)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(regs.globals)))
	for _, g := range regs.globals {
		b = binary.LittleEndian.AppendUint64(b, g)
	}
	for _, t := range regs.tables {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t)))
		for _, e := range t {
			b = binary.LittleEndian.AppendUint32(b, e)
		}
	}
	return sha256.Sum256(b)
}

// overlay is the blocks of a memory that differ from an image.
type overlay map[uint32]*block

func (o overlay) order() []uint32 { return slices.Sorted(maps.Keys(o)) }
