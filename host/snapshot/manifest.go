package snapshot

import (
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// memoryManifest is the canonical CBOR form of what a captured memory is apart
// from its blocks, which travel on their own.
type memoryManifest struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Image   []byte // sandbox.State.Image
	Root    []byte // the hash of the whole state (sandbox.Guest.Root)
	Size    uint64
	Globals []uint64
	Tables  [][]byte // as in memoryHead
	Buffer  uint32
	Room    uint32
}

const manifestVersion = 1

// EncodeManifest encodes what a guest is but for its blocks, which root is the hash of.
func EncodeManifest(s *sandbox.State, root [32]byte) ([]byte, error) {
	m := &memoryManifest{Version: manifestVersion, Image: s.Image[:], Root: root[:], Size: s.Size, Globals: s.Globals, Buffer: s.Buffer, Room: s.Room}
	for _, t := range s.Tables {
		m.Tables = append(m.Tables, appendU32s(nil, t))
	}
	return canon.Marshal(m)
}

// DecodeManifest reads what EncodeManifest wrote. Every error wraps
// ErrBadMemory.
func DecodeManifest(b []byte) (*sandbox.State, [32]byte, error) {
	var m memoryManifest
	none := [32]byte{}
	if err := canon.Unmarshal(b, &m); err != nil {
		return nil, none, fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	if m.Version != manifestVersion {
		return nil, none, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadMemory, m.Version, manifestVersion)
	}
	if len(m.Image) != 32 || len(m.Root) != 32 {
		return nil, none, fmt.Errorf("%w: hashes of %d and %d bytes", ErrBadMemory, len(m.Image), len(m.Root))
	}

	s := &sandbox.State{Image: [32]byte(m.Image), Size: m.Size, Globals: m.Globals, Buffer: m.Buffer, Room: m.Room}
	for _, t := range m.Tables {
		elements, err := readU32s(nil, t)
		if err != nil {
			return nil, none, err
		}
		s.Tables = append(s.Tables, elements)
	}

	return s, [32]byte(m.Root), nil
}

// Describe completes a snapshot of FormBlocks.
func (s *Snapshot) Describe(manifest []byte, key *identity.KeyPair) error {
	s.State, s.Header.StateHash = manifest, sha256.Sum256(manifest)
	return s.Seal(key)
}
