package group

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/identity"
)

// Route returns the member that is to have an event without an id, of that key, and a
// function to be called once it was answered. Members in without are left out.
// ErrNotFound, ErrNoHealthy.
func (m *Manager) Route(name string, key []byte, without []identity.EntityID) (Member, func(), error) {
	k, _, err := m.find(name)
	if err != nil {
		return Member{}, nil, err
	}
	return m.choose(k, name, func(g *Group) *Member {
		return k.pick(g.Strategy, g.healthy(without), key)
	})
}

// RouteOnce is Route for an event with an id. What was sent before goes where it went,
// whatever the group has become since, or is ErrMemberGone; where a new event goes is
// stored before RouteOnce returns. ErrNotFound, ErrNoHealthy, ErrTooManySenders,
// ErrSenderQuota.
func (m *Manager) RouteOnce(name string, sender identity.EntityID, number uint64, key []byte) (Member, func(), error) {
	k, _, err := m.find(name)
	if err != nil {
		return Member{}, nil, err
	}

	b := k.bound.of(sender)
	defer k.bound.release(b)
	member, done, err := m.routeBound(k, b, name, number, key)
	if err != nil {
		return Member{}, nil, err
	}
	if err := m.bind(k, b, name, number, member.Born); err != nil {
		done()
		return Member{}, nil, err
	}

	return member, done, nil
}

// routeBound finds the member for an event of a sender, and counts the event under way.
// It needs b.mu.
func (m *Manager) routeBound(k *kept, b *bound, name string, number uint64, key []byte) (Member, func(), error) {
	by := key
	if len(by) == 0 {
		by = b.Sender[:]
	}

	if len(b.Runs) == 0 {
		return m.choose(k, name, func(g *Group) *Member { return rendezvous(g.healthy(nil), by) })
	}
	if number > b.high {
		return m.choose(k, name, func(g *Group) *Member {
			if last := g.born(b.last().Born); last != nil && len(key) == 0 {
				return last
			}
			return rendezvous(g.healthy(nil), by)
		})
	}

	if number <= b.Floor {
		return Member{}, nil, fmt.Errorf("%w or is not known any more: the sender's events up to %d went to many", ErrMemberGone, b.Floor)
	}

	run := b.run(number)
	var other *Member
	member, done, err := m.choose(k, name, func(g *Group) *Member {
		if number <= b.unsure && number > b.last().From && len(key) > 0 {
			other = rendezvous(g.healthy(nil), key)
		}
		return g.born(run.Born)
	})

	switch {
	case errors.Is(err, ErrNotFound):
		return Member{}, nil, err
	case err != nil:
		return Member{}, nil, fmt.Errorf("%w: number %d; send what was not sent before under a number above %d, or another id", ErrMemberGone, number, b.high)
	case other != nil && other.Born != member.Born:
		done()
		return Member{}, nil, fmt.Errorf("%w or was never sent: number %d, by another key; send what was not sent before under a number above %d", ErrMemberGone, number, b.high)
	}

	return member, done, nil
}

// bind notes that an event of a sender goes to a member, durably where that says more
// than is known. It needs b.mu.
func (m *Manager) bind(k *kept, b *bound, name string, number, born uint64) error {
	now := time.Now().UnixNano()
	next, changes := b.grown(number, born, now, m.memory.For)
	if !changes {
		b.high = max(b.high, number)
		return nil
	}

	if len(next.Runs) > len(b.Runs) {
		if err := k.bound.take(b.Sender, now); err != nil {
			return err
		}
	}

	if err := m.registry.Bind(name, next); err != nil {
		b.stored = len(b.Runs) == 0 // what is stored is not known now
		if len(next.Runs) > len(b.Runs) {
			k.bound.giveBack(b.Sender)
		}
		return fmt.Errorf("storing whose events a member of group %q has: %w", name, err)
	}

	b.Binding, b.high, b.stored = next, max(b.high, number), true
	return nil
}

// choose picks a member and counts an event under way there, both at one moment: a
// member that has left the group by then is not picked, and one that leaves later waits
// for the event.
func (m *Manager) choose(k *kept, name string, pick func(*Group) *Member) (Member, func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := k.group
	if g == nil || g.Size == 0 {
		return Member{}, nil, fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	if k.making { // what a member had taken would go with it if the next cannot be made
		return Member{}, nil, fmt.Errorf("%w: %q is being made", ErrNoHealthy, name)
	}

	x := pick(g)
	if x == nil {
		return Member{}, nil, fmt.Errorf("%w: %q has %d members", ErrNoHealthy, name, len(g.Members))
	}
	return *x, k.begin(x.Born), nil
}

// healthy returns the members that take events, but those in without.
func (g *Group) healthy(without []identity.EntityID) (out []Member) {
	for _, x := range g.Members {
		if g.serves(&x) && x.Health == Healthy && !slices.Contains(without, x.Entity) {
			out = append(out, x)
		}
	}
	return out
}

// born returns the member that serves under that Born; nil where it is gone, or leaves.
func (g *Group) born(born uint64) *Member {
	for i := range g.Members {
		if x := &g.Members[i]; x.Born == born && g.serves(x) {
			return x
		}
	}
	return nil
}

// Senders is how many senders the group remembers.
func (m *Manager) Senders(name string) int {
	k, _, err := m.find(name)
	if err != nil {
		return 0
	}
	return k.bound.senders()
}
