package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Header is everything of a snapshot but its state.
type Header struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte // SHA-256 of the module, 32 bytes; empty for a native daemon
	Config      []byte // what the daemon was initialised with
	Epoch       uint64
	Through     uint64 // sequence of the head
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64           // how many events the daemon has applied
	LastTime    int64            // recorded time of the last of them, Unix nanoseconds
	Horizon     []SenderMark     // sorted by sender; no sender twice
	Form        Form             // what State is
	StateHash   chain.Hash       // SHA-256 of State
	CreatedAt   int64            // Unix nanoseconds
	Envelope    []byte           // the identity sealed to the node that took the snapshot; may be empty
	Limits      map[string]int64 // of the daemon's own, by name
	Bindings    []byte           // its subscriptions, as package channel encodes a ledger
	Effects     []byte           // its grants, timers and what is on its way, as package effect encodes them
	Lasting     []byte           // what it keeps for life; see Spawned, Previous. Empty: not said
}

// plainHeader is a Header of version 1.
type plainHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
}

func (h *Header) plain() *plainHeader {
	return &plainHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits}
}

func (p *plainHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits}
}

// boundHeader is a Header of version 2.
type boundHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
	Bindings    []byte
}

func (h *Header) bound() *boundHeader {
	return &boundHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits, Bindings: h.Bindings}
}

func (p *boundHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits, Bindings: p.Bindings}
}

// effectHeader is a Header of version 3.
type effectHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
	Bindings    []byte
	Effects     []byte
}

func (h *Header) effect() *effectHeader {
	return &effectHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits, Bindings: h.Bindings, Effects: h.Effects}
}

func (p *effectHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits, Bindings: p.Bindings, Effects: p.Effects}
}

// FormVersion is the version that a header is written as.
func (h *Header) FormVersion() uint8 {
	switch {
	case len(h.Lasting) > 0:
		return Version
	case len(h.Effects) > 0:
		return effectSnapshot
	case len(h.Bindings) > 0:
		return boundSnapshot
	}
	return plainSnapshot
}

// encode returns the header's canonical bytes.
func (h *Header) encode() ([]byte, error) {
	var v any = h
	switch h.Version {
	case effectSnapshot:
		v = h.effect()
	case boundSnapshot:
		v = h.bound()
	case plainSnapshot:
		v = h.plain()
	}

	b, err := canon.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a snapshot's header: %w", err)
	}
	return b, nil
}

// Form is what a snapshot's state is.
type Form uint8

// String returns the form's name.
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return fmt.Sprintf("form %d", uint8(f))
}

func (h *Header) check(most Form) error {
	switch {
	case h.Version < plainSnapshot || h.Version > Version:
		return fmt.Errorf("version %d, this program reads versions %d to %d", h.Version, plainSnapshot, Version)
	case h.Version != h.FormVersion():
		return fmt.Errorf("version %d with %d bytes of subscriptions, %d of effects and %d of facts", h.Version, len(h.Bindings), len(h.Effects), len(h.Lasting))
	case len(h.Module) != 0 && len(h.Module) != 32:
		return fmt.Errorf("module digest of %d bytes", len(h.Module))
	case h.Epoch == 0:
		return errors.New("epoch 0")
	case h.Form > most:
		return fmt.Errorf("state of %s", h.Form)
	case max(h.Epoch, h.Through, h.Applied) >= chain.CountLimit:
		return fmt.Errorf("epoch %d, sequence %d, %d events: no daemon gets there", h.Epoch, h.Through, h.Applied)
	case h.Head.Horizon > h.Applied:
		return fmt.Errorf("the head stands for %d events, %d were applied", h.Head.Horizon, h.Applied)
	case h.Head.Sequence != h.Through:
		return fmt.Errorf("head at sequence %d, header says %d", h.Head.Sequence, h.Through)
	case h.Head.Origin != h.Entity:
		return errors.New("the head belongs to another origin")
	case h.Head.Epoch > h.Epoch:
		return errors.New("the head is of a later epoch than the snapshot")
	}

	if _, err := channel.DecodeLedger(h.Bindings); err != nil {
		return err
	}
	if _, err := effect.Decode(h.Effects); err != nil {
		return err
	}
	if _, err := h.Facts(); err != nil {
		return err
	}

	sorted := slices.IsSortedFunc(h.Horizon, func(a, b SenderMark) int {
		if c := a.Sender.Compare(b.Sender); c != 0 {
			return c
		}
		return 1 // the same sender twice is not sorted
	})
	if !sorted && len(h.Horizon) > 1 {
		return errors.New("the horizon is not sorted, or has a sender twice")
	}

	return nil
}

func (h *Header) sum() (chain.Hash, error) {
	b, err := h.encode()
	if err != nil {
		return chain.Hash{}, err
	}
	return sha256.Sum256(b), nil
}

// The forms of state.
const (
	FormNone   Form = iota // empty, and not to be restored: the daemon keeps nothing
	FormGiven              // what the daemon's own code gave (wasmhost_snapshot), for it to restore
	FormMemory             // captured memory, for the same module
	FormBlocks             // what a memory is apart from its blocks; they came before, in a migration

	FormDelta // what changed since the snapshot before; in a store alone
)

var formNames = [...]string{"none", "given", "memory", "blocks", "delta"}
