package group

import (
	"errors"
	"fmt"

	"wasmhost.example/host/placement"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Stored is a Registry in a node's store. Seeds are sealed to the node's key.
type Stored struct {
	store *store.Store
	node  *identity.KeyPair
}

// NewStored returns the registry of the node, whose key it reads and does not keep
// a copy of.
func NewStored(s *store.Store, node *identity.KeyPair) *Stored { return &Stored{s, node} }

// groupRecord is how a group is kept: canonical CBOR.
type groupRecord struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Kind     string
	Size     int
	Strategy Strategy
	Config   []byte
	Place    placeRecord
	Standbys int
	Ack      string
	Signer   identity.EntityID // whose seed it is
	Seed     []byte            // an envelope of its key
	Members  []memberRecord
	Made     uint64
}

type placeRecord struct {
	_             struct{} `cbor:",toarray"`
	Tags, Prefer  map[string]string
	MinFreeMemory int64
	MaxSame       int
	Spread        string
	Pack          bool
}

type memberRecord struct {
	_      struct{} `cbor:",toarray"`
	Index  uint8
	Entity identity.EntityID
	Node   identity.NodeID
	Epoch  uint64
	Health Health
	Reason string
	Lost   []identity.NodeID
	Born   uint64
}

// sealed is the link to which a group's seed is bound.
var sealed = []byte("wasmhost group seed at rest")

// All implements Registry.
func (s *Stored) All() ([]*Group, error) {
	var out []*Group
	err := s.store.Scan(store.Groups, func(k, v []byte) error {
		g, err := s.decode(v)
		if err != nil {
			return fmt.Errorf("group %q: %w", k, err)
		}
		out = append(out, g)
		return nil
	})

	return out, err
}

// Put implements Registry.
func (s *Stored) Put(g *Group) error {
	key, err := identity.FromSeed(g.Seed[:])
	if err != nil {
		return err
	}

	defer key.Wipe()
	own, err := s.node.SealKey()
	if err != nil {
		return err
	}

	env, err := identity.Seal(key, own, sealed)
	if err != nil {
		return err
	}

	rec := groupRecord{Name: g.Name, Kind: g.Kind, Size: g.Size, Strategy: g.Strategy, Config: g.Config, Standbys: g.Standbys, Ack: g.Ack, Signer: key.ID(), Seed: env.Bytes(), Made: g.Made,
		Place: placeRecord{Tags: g.Place.Tags, Prefer: g.Place.Prefer, MinFreeMemory: g.Place.MinFreeMemory, MaxSame: g.Place.MaxSame, Spread: g.Place.Spread, Pack: g.Place.Pack}}
	for _, m := range g.Members {
		rec.Members = append(rec.Members, memberRecord{Index: m.Index, Entity: m.Entity, Node: m.Node, Epoch: m.Epoch, Health: m.Health, Reason: m.Reason, Lost: m.Lost, Born: m.Born})
	}

	encoded, err := canon.Marshal(&rec)
	if err != nil {
		return err
	}

	b := &store.Batch{}
	b.Put(store.Groups, []byte(g.Name), encoded)
	return s.store.Commit(b)
}

// Delete implements Registry.
func (s *Stored) Delete(name string) error {
	b := &store.Batch{}
	b.Delete(store.Groups, []byte(name))
	b.DeleteUnder(store.Bindings, bindingKey(name, identity.EntityID{})[:len(name)+1])
	return s.store.Commit(b)
}

func (s *Stored) decode(b []byte) (*Group, error) {
	rec, err := decodeGroup(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}

	env, err := identity.ParseEnvelope(rec.Seed)
	if err != nil {
		return nil, fmt.Errorf("%w: its seed: %w", store.ErrCorrupt, err)
	}

	key, err := env.Open(s.node, sealed, rec.Signer)
	if err != nil {
		return nil, fmt.Errorf("opening its seed: %w", err)
	}

	defer key.Wipe()
	seed, err := key.Seed()
	if err != nil {
		return nil, err
	}

	defer clear(seed)
	g := &Group{Made: rec.Made, Spec: Spec{Name: rec.Name, Kind: rec.Kind, Size: rec.Size, Strategy: rec.Strategy, Config: rec.Config, Standbys: rec.Standbys, Ack: rec.Ack,
		Place: placement.Requirements{Tags: rec.Place.Tags, Prefer: rec.Place.Prefer, MinFreeMemory: rec.Place.MinFreeMemory, MaxSame: rec.Place.MaxSame, Spread: rec.Place.Spread, Pack: rec.Place.Pack}}}
	copy(g.Seed[:], seed)
	g.ID = IDOf(g.Seed)

	for _, m := range rec.Members {
		if int(m.Health) >= len(healthNames) {
			return nil, fmt.Errorf("%w: a member's health is %d", store.ErrCorrupt, m.Health)
		}
		g.Members = append(g.Members, Member{Index: m.Index, Entity: m.Entity, Node: m.Node, Epoch: m.Epoch, Health: m.Health, Reason: m.Reason, Lost: m.Lost, Born: m.Born})
	}

	if err := g.validate(); err != nil {
		return nil, errors.Join(store.ErrCorrupt, err)
	}
	return g, nil
}
