package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A member that leaves a group is ended only when nobody waits for it any more:
//
//	1. the group's size is stored: no event is sent to the member from then on
//	2. the member answers what it has
//	3. the member is stopped, for good
//	4. the group without it is stored
//
// What fails before 3 makes it a member as it was. After a crash Heal goes on with 2.

// leavePatience is for how long a member that leaves may answer what it has.
const leavePatience = 30 * time.Second

// ErrBusy says that a member that was to leave still has events under way.
var ErrBusy = errors.New("the member still has events under way")

// shrink ends the members of indices from size on, the highest first, and goes on
// where one cannot be ended: it stays a member, and the error says why. From 0 on, all
// end; that is not stored before: after a crash the group is whole.
func (m *Manager) shrink(ctx context.Context, k *kept, g *Group, size int) error {
	whole := g.Size
	g.Size = size
	if size == 0 {
		m.publish(k, g)
	} else if err := m.put(k, g); err != nil {
		g.Size = whole
		return err
	}

	var failed error
	left := slices.Clone(g.Members)
	slices.Reverse(left)
	patience, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()

	for _, member := range left {
		if int(member.Index) < size {
			continue
		}
		if err := m.end(ctx, patience, k, member); err != nil {
			failed = errors.Join(failed, fmt.Errorf("ending %s: %w", MemberName(g.Name, member.Index), err))
			continue
		}

		g.Members = slices.DeleteFunc(g.Members, func(x Member) bool { return x.Index == member.Index })
	}

	switch {
	case failed != nil && len(g.Members) > 0:
		g.Size = max(size, int(g.Members[len(g.Members)-1].Index)+1)
	case size == 0:
		return failed // there is no group of no size: the caller forgets it
	}

	return errors.Join(failed, m.put(k, g))
}

// end stops a member once it has answered what it has.
func (m *Manager) end(ctx, patience context.Context, k *kept, member Member) error {
	if n := k.await(patience, member.Born); n > 0 {
		return fmt.Errorf("%w: %d", ErrBusy, n)
	}
	return m.nodes.Stop(ctx, member)
}

// finishLeaving ends the members that were leaving when the node ended.
func (m *Manager) finishLeaving(ctx context.Context, k *kept, g *Group) error {
	if !slices.ContainsFunc(g.Members, func(x Member) bool { return !g.serves(&x) }) {
		return nil
	}
	return m.shrink(ctx, k, g, g.Size)
}

// Remove ends every member and forgets the group. Where a member cannot be ended
// the group is kept, with those that are left.
func (m *Manager) Remove(ctx context.Context, name string) error {
	k, g, err := m.lock(name)
	if err != nil {
		return err
	}

	defer k.doing.Unlock()
	if err := m.shrink(ctx, k, g, 0); err != nil {
		return err
	}
	return m.drop(k, name)
}
