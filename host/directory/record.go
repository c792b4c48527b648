// Package directory says who answers for which daemon in a cluster, and which
// nodes are there. What it says is decided by an Engine; events, histories and
// states never pass through it.
package directory

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Ack says when a standby holds an event.
type Ack uint8

// The ways.
const (
	AckMemory Ack = 0 // when it has it in memory
	AckDisk   Ack = 1 // when its disk has it
)

// String returns memory or disk.
func (a Ack) String() string {
	if a == AckDisk {
		return "disk"
	}
	return "memory"
}

// ErrBadAck says that a text is neither memory nor disk.
var ErrBadAck = errors.New("an acknowledgement is by memory or by disk")

// ParseAck reads what String writes; empty is memory.
func ParseAck(text string) (Ack, error) {
	switch text {
	case "", "memory":
		return AckMemory, nil
	case "disk":
		return AckDisk, nil
	}
	return 0, fmt.Errorf("%w: %q", ErrBadAck, text)
}

// Daemon is what the directory says of a daemon. Whoever is in Standbys holds
// all that was acknowledged.
type Daemon struct {
	Entity   identity.EntityID
	Name     string
	Owner    identity.NodeID
	Epoch    uint64
	Want     int // how many standbys it is to have
	Ack      Ack
	Standbys []identity.NodeID // in sync; sorted, each once
}

// Entry is a Daemon at a revision of the directory.
type Entry struct {
	Daemon
	Revision int64
}

// InSync reports whether the node is one of the standbys in sync.
func (d *Daemon) InSync(id identity.NodeID) bool { return slices.Contains(d.Standbys, id) }

// With is the daemon with one more standby in sync.
func (d Daemon) With(id identity.NodeID) Daemon {
	d.Standbys = append(slices.Clone(d.Standbys), id)
	slices.Sort(d.Standbys)
	d.Standbys = slices.Compact(d.Standbys)
	return d
}

// Without is the daemon with a standby less.
func (d Daemon) Without(id identity.NodeID) Daemon {
	d.Standbys = slices.DeleteFunc(slices.Clone(d.Standbys), func(o identity.NodeID) bool { return o == id })
	return d
}

// Node is what a member of the cluster says of itself.
type Node struct {
	Key  identity.EntityID
	Name string
	Addr string        // where it listens
	TTL  time.Duration // after so long a silence it has stopped
}

// ID returns the node's id.
func (n *Node) ID() identity.NodeID { return n.Key.Node() }

// Bounds on records.
const (
	MaxStandbys = 8   // standbys of a daemon
	maxText     = 255 // bytes of a text in a record
	MinTTL      = 200 * time.Millisecond
	MaxTTL      = 5 * time.Minute // how long a node's lease may be
)

// ErrBadRecord is wrapped by every error of a record that cannot be read.
var ErrBadRecord = errors.New("malformed record of the directory")

const recordVersion = 1

type daemonRecord struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Entity   identity.EntityID
	Name     string
	Owner    identity.NodeID
	Epoch    uint64
	Want     uint8
	Ack      Ack
	Standbys []identity.NodeID
}

type nodeRecord struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Key     identity.EntityID
	Name    string
	Addr    string
	TTL     int64
}

func (d *Daemon) encode() ([]byte, error) {
	return canon.Marshal(&daemonRecord{Version: recordVersion, Entity: d.Entity, Name: d.Name, Owner: d.Owner, Epoch: d.Epoch, Want: uint8(d.Want), Ack: d.Ack, Standbys: append([]identity.NodeID{}, d.Standbys...)})
}

// MarshalBinary returns the daemon as the directory's record has it.
func (d Daemon) MarshalBinary() ([]byte, error) { return d.encode() }

// UnmarshalBinary reads what MarshalBinary wrote, strictly: ErrBadRecord.
func (d *Daemon) UnmarshalBinary(b []byte) (err error) {
	*d, err = decodeDaemon(b)
	return err
}

func decodeDaemon(b []byte) (Daemon, error) {
	var r daemonRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return Daemon{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}

	sorted := slices.IsSortedFunc(r.Standbys, func(later, before identity.NodeID) int {
		if later <= before {
			return -1
		}
		return 1
	})
	if r.Version != recordVersion || r.Want > MaxStandbys || len(r.Standbys) > MaxStandbys || r.Ack > AckDisk || len(r.Name) > maxText || r.Owner == 0 || r.Epoch == 0 || r.Entity.IsZero() || !sorted {
		return Daemon{}, fmt.Errorf("%w: version %d, %d standbys of %d, owner %s, epoch %d", ErrBadRecord, r.Version, len(r.Standbys), r.Want, r.Owner, r.Epoch)
	}

	return Daemon{Entity: r.Entity, Name: r.Name, Owner: r.Owner, Epoch: r.Epoch, Want: int(r.Want), Ack: r.Ack, Standbys: r.Standbys}, nil
}

func (n *Node) encode() ([]byte, error) {
	return canon.Marshal(&nodeRecord{Version: recordVersion, Key: n.Key, Name: n.Name, Addr: n.Addr, TTL: int64(n.TTL)})
}

func decodeNode(b []byte) (Node, error) {
	var r nodeRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return Node{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if r.Version != recordVersion || r.Key.IsZero() || len(r.Name) > maxText || len(r.Addr) > maxText || r.TTL < int64(MinTTL) || r.TTL > int64(MaxTTL) {
		return Node{}, fmt.Errorf("%w: version %d, a node with a lease of %v", ErrBadRecord, r.Version, time.Duration(r.TTL))
	}
	return Node{Key: r.Key, Name: r.Name, Addr: r.Addr, TTL: time.Duration(r.TTL)}, nil
}

// The keys. A member is known until it is removed; a session is one life of its
// process, and its beats say that it goes on. One that was removed gets no session until
// it is let in anew. A life is what a node says of its last process.
func daemonKey(id identity.EntityID) string { return "daemon/" + id.String() }
func nameKey(name string) string            { return "name/" + name }
func removedKey(id identity.NodeID) string  { return "removed/" + id.String() }
func memberKey(id identity.NodeID) string   { return "member/" + id.String() }
func sessionKey(id identity.NodeID) string  { return "session/" + id.String() }
func lifeKey(id identity.NodeID) string     { return "life/" + id.String() }
func beatKey(id identity.NodeID) string     { return "beat/" + id.String() }
