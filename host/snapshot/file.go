package snapshot

import (
	"encoding/binary"

	"wasmhost.example/host/store"
)

// InFile is added to the index that a stored state begins with where the state is in a file
// of its own, whose digest follows.
const InFile = 1 << 63

// FileOf returns the digest of the file that a part of a stored state speaks of; false where
// it speaks of none.
func FileOf(p *store.Part) (d store.Digest, ok bool) {
	if t := store.Table(p.Table); p.Kind != 's' || t != store.Snapshots && t != store.Deltas || len(p.Value) < 8+len(d) || binary.BigEndian.Uint64(p.Value) < InFile {
		return d, false
	}
	return store.Digest(p.Value[8:]), true
}
