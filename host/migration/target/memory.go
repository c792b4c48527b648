package target

import (
	"encoding/binary"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
)

// Memory is the memory of a daemon on its way to a node. Its methods need the daemon's
// lock. Where the state does not come in blocks it does nothing.
type Memory struct {
	offer *migration.Offer
	code  func() daemon.Daemon // the daemon's

	hash  *sandbox.Follower
	view  *sandbox.Frozen // that hash stands at
	root  [32]byte
	index []uint32
	put   sandbox.BlockSet // blocks that came since, whose hash is there already
}

// NewMemory makes the memory of the daemon that is offered. code returns the daemon's
// code, once something of the memory comes.
func NewMemory(o *migration.Offer, code func() daemon.Daemon) *Memory {
	return &Memory{offer: o, code: code}
}

func (m *Memory) of() (moving.Memory, error) {
	of, ok := m.code().(moving.Memory)
	if !ok {
		return nil, migration.Failf(migration.StateFailed, "a memory came for a daemon of kind %q, which has none", m.offer.Kind)
	}
	if m.hash == nil {
		m.hash = of.Follow()
	}
	return of, nil
}

// Add writes blocks.
func (m *Memory) Add(msg *migration.Blocks) error {
	of, err := m.of()
	if err != nil {
		return err
	}

	blocks, err := msg.Plain()
	if err != nil {
		return migration.Failf(migration.ProtocolError, "%v", err)
	}

	m.index = m.index[:0]
	for i := msg.Index; len(i) > 0; i = i[4:] {
		m.index = append(m.index, binary.LittleEndian.Uint32(i))
	}

	if err := of.Fill(m.index, blocks); err != nil { // it knows what there is room for
		return migration.Failf(migration.StateFailed, "%v", err)
	}

	for k, b := range m.index {
		m.hash.Put(b, blocks[k*sandbox.BlockBytes:][:sandbox.BlockBytes])
		m.put.Add(b)
	}
	return nil
}

// Become completes what Add wrote, and compares its hash with the source's.
func (m *Memory) Become(manifest []byte) error {
	of, err := m.of()
	if err != nil {
		return err
	}

	s, root, err := snapshot.DecodeManifest(manifest)
	if err == nil {
		err = of.Become(s)
	}

	if err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}

	if err := m.Look(); err != nil {
		return err
	}
	if m.root != root {
		return migration.Failf(migration.StateFailed, "the memory that came has hash %x, the source's %x", m.root, root)
	}

	return nil
}

// Look follows what a round did: it hashes what is not as it was.
func (m *Memory) Look() error {
	if !m.offer.Memory {
		return nil
	}

	of, err := m.of()
	if err != nil {
		return err
	}

	v, err := of.Freeze(m.view)
	if err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}

	moving.Follow(m.hash, v, m.put)
	m.put = m.put[:0]
	m.view, m.root = v, m.hash.Root(&v.State)
	return nil
}

// Sum is the hash of the memory; empty where it did not come in blocks.
func (m *Memory) Sum() []byte {
	if !m.offer.Memory {
		return nil
	}
	return m.root[:]
}
