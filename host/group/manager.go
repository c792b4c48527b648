package group

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// Nodes is what a manager does to the nodes. It is safe for concurrent use.
type Nodes interface {
	// Candidates returns the nodes that a member could be on, with what they
	// announce.
	Candidates(context.Context) ([]placement.Node, error)

	// Spawn makes the daemon on the node, under an epoch of at least epoch, and
	// returns where and at which epoch it is. Where it fails nothing is left of
	// the daemon, unless the error says so.
	Spawn(ctx context.Context, at identity.NodeID, r Replica) (identity.NodeID, uint64, error)

	// Look finds the members, wherever they are, and returns what was seen of each.
	// Gone is only what every node that could have it denies to have.
	Look(ctx context.Context, members ...Member) []Sight

	// Stop ends a member for good, wherever it is. One that is provably nowhere is
	// no error; one that is not found, while a node that may have it does not answer,
	// is one.
	Stop(ctx context.Context, m Member) error

	// StopAt ends a copy of the member of an epoch below m's that the node has; no
	// such copy is no error.
	StopAt(ctx context.Context, at identity.NodeID, m Member) error

	// Unown makes sure that no node comes to own the member under an epoch of before its
	// loss: in a cluster, that no standby takes it over from then on. ErrMemberAlive
	// where one has, ErrLeased where its node may still have it. Unless it succeeds
	// nothing has changed.
	Unown(ctx context.Context, m Member) error
}

// Replica is a member to be made.
type Replica struct {
	Name, Kind string
	Key        *identity.KeyPair // the callee may keep a copy
	Config     []byte
	Epoch      uint64 // the least
	Standbys   int
	Ack        string
}

// Sight is what was seen of a member.
type Sight struct {
	Health Health
	Node   identity.NodeID // where it is; unless it was found, 0
	Epoch  uint64
	Reason string

	// Older are nodes that have a copy of before the member was declared lost, as
	// Member.Outlived says. It is to be stopped before the member can be made anew.
	Older []identity.NodeID
}

// lossEpochs is by how much the epoch of a member grows that was declared lost:
// more than the moves that it could have made since it was seen last.
const lossEpochs = 1 << 20

// maxRemade bounds how many members of a group one Heal recreates.
const maxRemade = 4

// Manager keeps groups. It is safe for concurrent use; what is done to one group
// is done one after the other.
type Manager struct {
	nodes    Nodes
	registry Registry
	memory   SenderMemory
	logger   *slog.Logger

	mu     sync.Mutex
	groups map[string]*kept
}

type kept struct {
	doing sync.Mutex // held while the group is changed; before Manager.mu
	picker
	bound *bindings

	group  *Group // Manager.mu guards the pointer; what it points to does not change
	making bool   // Create may still undo it, so it takes no events; guarded by Manager.mu
}

// NewManager makes a manager of the groups in the registry, which remember senders
// within the bounds of memory.
func NewManager(nodes Nodes, registry Registry, memory SenderMemory, logger *slog.Logger) (*Manager, error) {
	m := &Manager{nodes: nodes, registry: registry, memory: memory.filled(), logger: logger, groups: make(map[string]*kept)}
	all, err := registry.All()
	if err != nil {
		return nil, fmt.Errorf("reading the groups: %w", err)
	}

	for _, g := range all {
		k := m.newKept(g.Name)
		k.group = g
		if err := registry.Bindings(g.Name, func(b Binding) error { k.bound.add(b); return nil }); err != nil {
			return nil, fmt.Errorf("reading what group %q remembers: %w", g.Name, err)
		}
		m.groups[g.Name] = k
	}

	return m, nil
}

func (m *Manager) newKept(name string) *kept {
	return &kept{bound: newBindings(m.memory, func(senders []identity.EntityID) error { return m.registry.Unbind(name, senders) })}
}

// List returns the groups by name.
func (m *Manager) List() []*Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*Group, 0, len(m.groups))
	for _, k := range m.groups {
		if k.group != nil {
			out = append(out, k.group.clone())
		}
	}

	slices.SortFunc(out, func(a, b *Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Get returns the group, or ErrNotFound.
func (m *Manager) Get(name string) (*Group, error) {
	_, g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return g.clone(), nil
}

func (m *Manager) find(name string) (*kept, *Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.groups[name]
	if k == nil || k.group == nil {
		return nil, nil, fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	return k, k.group, nil
}

// lock finds the group and keeps others from changing it. The group that it
// returns is the caller's to change and to put.
func (m *Manager) lock(name string) (k *kept, g *Group, err error) {
	if k, _, err = m.find(name); err != nil {
		return nil, nil, err
	}

	k.doing.Lock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.group == nil {
		k.doing.Unlock()
		return nil, nil, fmt.Errorf("%w: %q", ErrNotFound, name)
	}

	return k, k.group.clone(), nil
}

func (m *Manager) put(k *kept, g *Group) error {
	if err := m.registry.Put(g); err != nil {
		return fmt.Errorf("storing group %q: %w", g.Name, err)
	}
	m.publish(k, g)
	return nil
}

// publish makes events be sent by the group as it is here.
func (m *Manager) publish(k *kept, g *Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.group = g.clone()
}

// Create makes a group and its members. A nil seed is drawn at random. named is called
// once the group is stored under its name, before it has members: an error of it ends the
// group; it may be nil. Where a member cannot be made none is left, nor the group:
// ErrPlacement.
func (m *Manager) Create(ctx context.Context, s Spec, seed *[32]byte, named func() error) (*Group, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}

	g := &Group{Spec: s}
	if seed != nil {
		g.Seed = *seed
	} else if _, err := rand.Read(g.Seed[:]); err != nil {
		return nil, err
	}

	g.ID = IDOf(g.Seed)
	k := m.newKept(s.Name)
	k.doing.Lock()
	defer k.doing.Unlock()
	m.mu.Lock()

	for name, other := range m.groups {
		if name == s.Name || other.group != nil && other.group.Seed == g.Seed {
			m.mu.Unlock()
			return nil, fmt.Errorf("%w: %q", ErrExists, name)
		}
	}

	m.groups[s.Name], k.making = k, true
	m.mu.Unlock()

	// Before the first member: one that a crash leaves behind can be removed.
	err := m.put(k, g)
	if err == nil && named != nil {
		err = named()
	}

	if err == nil {
		if err = m.grow(ctx, k, g); err == nil {
			m.mu.Lock()
			k.making = false
			m.mu.Unlock()
			return g.clone(), nil
		}
	}

	if undone := m.shrink(context.WithoutCancel(ctx), k, g, 0); undone != nil {
		return nil, errors.Join(err, undone)
	}
	return nil, errors.Join(err, m.drop(k, g.Name))
}

func (m *Manager) drop(k *kept, name string) error {
	if err := m.registry.Delete(name); err != nil {
		return fmt.Errorf("forgetting group %q: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k.group = nil
	delete(m.groups, name)
	return nil
}

// Scale makes the group that large. Members of the highest indices go, new ones
// have the indices that follow. Where a member cannot be made, those before it
// stay, and the error says so.
func (m *Manager) Scale(ctx context.Context, name string, size int) (*Group, error) {
	k, g, err := m.lock(name)
	if err != nil {
		return nil, err
	}

	defer k.doing.Unlock()
	before := g.Size
	g.Size = size
	if err := g.validate(); err != nil {
		return nil, err
	}

	if size < before {
		g.Size = before
		err = m.shrink(ctx, k, g, size)
	} else {
		err = m.grow(ctx, k, g)
	}

	return g.clone(), err
}

// grow makes the members that are missing. Each is placed with those before it in
// view, and stored before the next is made.
func (m *Manager) grow(ctx context.Context, k *kept, g *Group) error {
	for index := range g.Size {
		if slices.ContainsFunc(g.Members, func(x Member) bool { return int(x.Index) == index }) {
			continue
		}

		key, err := identity.Replica(g.Seed, uint8(index))
		if err != nil {
			return err
		}

		member := Member{Index: uint8(index), Entity: key.ID(), Born: g.bear()}
		err = m.make(ctx, g, &member, key)
		key.Wipe()
		if err != nil {
			return errors.Join(err, m.put(k, g))
		}

		g.Members = append(g.Members, member)
		slices.SortFunc(g.Members, func(a, b Member) int { return int(a.Index) - int(b.Index) })
		if err := m.put(k, g); err != nil {
			return err
		}
	}
	return m.put(k, g)
}

// make places a member and makes it there, under an epoch above member.Epoch.
func (m *Manager) make(ctx context.Context, g *Group, member *Member, key *identity.KeyPair) error {
	failed := func(err error) error {
		return fmt.Errorf("%w: %s: %w", ErrPlacement, MemberName(g.Name, member.Index), err)
	}
	nodes, err := m.nodes.Candidates(ctx)
	if err != nil {
		return failed(err)
	}

	for k := range nodes {
		for _, other := range g.Members {
			if other.Node == nodes[k].ID && other.Index != member.Index {
				nodes[k].Same++
			}
		}
		if slices.Contains(member.Lost, nodes[k].ID) {
			nodes[k].Refuses = "the member was lost there"
		}
	}

	best, _, err := placement.Pick(nodes, g.Place)
	if err != nil {
		return failed(err)
	}

	at, epoch, err := m.nodes.Spawn(ctx, best.ID, Replica{Name: MemberName(g.Name, member.Index), Kind: g.Kind, Key: key, Config: g.Config, Epoch: member.Epoch + 1, Standbys: g.Standbys, Ack: g.Ack})
	if err != nil {
		return failed(err)
	}

	member.Node, member.Epoch, member.Health, member.Reason = at, epoch, Healthy, ""
	return nil
}

// Heal looks at every member, and makes those anew, with the identities that they
// had, that are provably nowhere: at most a few at a time. One that may still be
// somewhere is left alone. What goes wrong with one member stops no other.
func (m *Manager) Heal(ctx context.Context, name string) (*Group, error) {
	k, g, err := m.lock(name)
	if err != nil {
		return nil, err
	}

	defer k.doing.Unlock()
	m.stopLost(ctx, g)
	failed := m.finishLeaving(ctx, k, g)
	remade := 0

	for i, sight := range m.lookTwice(ctx, g) {
		member := &g.Members[i]
		member.Health, member.Reason = sight.Health, sight.Reason
		if sight.Node != 0 && sight.Epoch >= member.Epoch {
			member.Node, member.Epoch = sight.Node, sight.Epoch
		}

		if sight.Health != Gone || remade == maxRemade {
			continue
		}

		remade++
		if err := m.remake(ctx, k, g, member); err != nil {
			member.Reason = err.Error()
			failed = errors.Join(failed, err)
			continue
		}

		m.logger.Warn("a member of a group was made anew", "group", g.Name, "member", member.Index, "node", member.Node, "epoch", member.Epoch)
	}

	if failed == nil && len(g.Members) < g.Size {
		failed = m.grow(ctx, k, g)
	}
	return g.clone(), errors.Join(failed, m.put(k, g))
}

// lookTwice looks at the members. Copies of before a loss that are found elsewhere than
// where the member was lost, as where a standby had taken it over, are ended, and their
// members looked at again.
func (m *Manager) lookTwice(ctx context.Context, g *Group) []Sight {
	sights := m.nodes.Look(ctx, g.Members...)
	found := false
	for i, sight := range sights {
		for _, at := range sight.Older {
			if member := &g.Members[i]; !slices.Contains(member.Lost, at) {
				member.Lost, found = append(member.Lost, at), true
			}
		}
	}

	if !found {
		return sights
	}

	m.stopLost(ctx, g)
	return m.nodes.Look(ctx, g.Members...)
}

// stopLost ends what is back of members that were declared lost. A node that has
// answered, and has none any more, is asked no more.
func (m *Manager) stopLost(ctx context.Context, g *Group) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range g.Members {
		member := &g.Members[i]
		for _, at := range member.Lost {
			told := *member
			wg.Go(func() {
				if m.nodes.StopAt(ctx, at, told) != nil {
					return // it is asked again
				}
				mu.Lock()
				defer mu.Unlock()
				member.Lost = slices.DeleteFunc(slices.Clone(member.Lost), func(x identity.NodeID) bool { return x == at })
			})
		}
	}

	wg.Wait()
}

// remake makes a member anew, as another that remembers nothing. That is stored first:
// what was sent to the one before is not sent to it.
func (m *Manager) remake(ctx context.Context, k *kept, g *Group, member *Member) error {
	member.Born, member.Health = g.bear(), Gone
	if err := m.put(k, g); err != nil {
		return err
	}

	key, err := identity.Replica(g.Seed, member.Index)
	if err != nil {
		return err
	}

	defer key.Wipe()
	return m.make(ctx, g, member, key)
}

// DeclareLost makes a member anew, elsewhere, though a node that may have it does
// not answer: an operator says that it will not come back. Its epoch is above any
// that the old one can have come to, and what comes back of it is stopped. A
// member that is seen running, or that a standby has taken over, is ErrMemberAlive; one
// that a standby may still take over, as its node's lease has not run out, is ErrLeased.
// Both leave the member as it is.
func (m *Manager) DeclareLost(ctx context.Context, name string, index uint8) (*Group, error) {
	k, g, err := m.lock(name)
	if err != nil {
		return nil, err
	}

	defer k.doing.Unlock()
	at := slices.IndexFunc(g.Members, func(x Member) bool { return x.Index == index })
	if at < 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, MemberName(name, index))
	}

	member := &g.Members[at]
	switch sight := m.nodes.Look(ctx, *member)[0]; sight.Health {
	case Silent:
		// No standby takes over what the group stores as lost.
		if err := m.nodes.Unown(ctx, *member); err != nil {
			return nil, fmt.Errorf("%s: %w", MemberName(name, index), err)
		}
		if !slices.Contains(member.Lost, member.Node) {
			member.Lost = append(member.Lost, member.Node)
		}
		member.Epoch += lossEpochs

	case Gone:
	default:
		return nil, fmt.Errorf("%w: %s, on node %s", ErrMemberAlive, MemberName(name, index), sight.Node)
	}

	if err := m.remake(ctx, k, g, member); err != nil { // what was lost is known as lost before
		member.Health, member.Reason = Gone, err.Error()
		return nil, errors.Join(err, m.put(k, g))
	}
	return g.clone(), m.put(k, g)
}

// Unreachable notes that a member does not answer: others have its events until
// Heal sees it again.
func (m *Manager) Unreachable(name string, id identity.EntityID, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.groups[name]
	if k == nil || k.group == nil {
		return
	}

	g := k.group.clone()
	for i := range g.Members {
		if g.Members[i].Entity == id {
			g.Members[i].Health, g.Members[i].Reason = Silent, why.Error()
		}
	}

	k.group = g
}
