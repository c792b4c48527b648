package group

import (
	"maps"
	"slices"
	"sync"

	"wasmhost.example/identity"
)

// Memory is a Registry that forgets all when the program ends.
type Memory struct {
	mu       sync.Mutex
	groups   map[string]*Group
	bindings map[string]map[identity.EntityID]Binding // by group
}

// All implements Registry.
func (m *Memory) All() ([]*Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Group
	for _, g := range m.groups {
		out = append(out, g.clone())
	}
	return out, nil
}

// Put implements Registry.
func (m *Memory) Put(g *Group) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups == nil {
		m.groups = make(map[string]*Group)
	}
	m.groups[g.Name] = g.clone()
	return nil
}

// Delete implements Registry.
func (m *Memory) Delete(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.groups, name)
	delete(m.bindings, name)
	return nil
}

// Bindings implements Registry.
func (m *Memory) Bindings(group string, fn func(Binding) error) error {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.bindings[group]))
	m.mu.Unlock()
	for _, b := range all {
		if err := fn(b); err != nil {
			return err
		}
	}

	return nil
}

// Bind implements Registry.
func (m *Memory) Bind(group string, b Binding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bindings == nil {
		m.bindings = make(map[string]map[identity.EntityID]Binding)
	}

	if m.bindings[group] == nil {
		m.bindings[group] = make(map[identity.EntityID]Binding)
	}

	m.bindings[group][b.Sender] = b
	return nil
}

// Unbind implements Registry.
func (m *Memory) Unbind(group string, senders []identity.EntityID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sender := range senders {
		delete(m.bindings[group], sender)
	}
	return nil
}
