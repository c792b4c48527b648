package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

const team = "team"

// groups changes a group, some times, while events with ids are sent to it, daemons move
// and nodes die.
func groups(ctx context.Context, r *round) error {
	switch r.rng.IntN(6) {
	case 0:
		return twins(ctx, r)
	case 1:
		return r.group(ctx, "lost")
	}
	var changes []string
	for range 1 + r.rng.IntN(3) {
		changes = append(changes, choice(r.rng, "grow", "shrink", "heal", "remade"))
	}
	return r.group(ctx, changes...)
}

func (r *round) group(ctx context.Context, changes ...string) error {
	strategy := choice(r.rng, "round-robin", "least-loaded", "consistent-hash")
	r.does("group %s", strategy)
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	keeper := r.nodes[0]
	if _, err := push(ctx, keeper, 1); err != nil {
		return err
	}
	if _, err := r.team(ctx, keeper, strategy, 3+r.rng.IntN(2)); err != nil {
		return err
	}
	c := r.senders(ctx, "group/"+team, numbered, alone, alone, anonymous)
	defer c.done()
	if err := c.more(ctx, 40); err != nil {
		return err
	}
	if err := r.change(ctx, c, changes...); err != nil {
		return err
	}
	c.done()
	if err := r.well(ctx); err != nil {
		return err
	}
	r.repeatAll(ctx)
	fresh := r.book.enter("group/"+team, "fresh/1", "fresh/1")
	if err := r.settle(ctx, r.rng, fresh); err != nil {
		r.problem("an event of a new sender after the change: want it applied, got %v", err)
	}
	return r.judgeGroup(ctx, keeper)
}

// team makes the group, with a member on each node first.
func (r *round) team(ctx context.Context, keeper *fleet.Node, strategy string, size int) (api.Group, error) {
	var g api.Group
	err := until(ctx, patience, "the group is made", func(ctx context.Context) (err error) {
		if g, err = keeper.Client.Groups().Get(ctx, team); err == nil { // an attempt before this one did it
			return nil
		}
		g, err = keeper.Client.Groups().Create(ctx, api.CreateGroup{Name: team, Kind: kind, Size: size, Strategy: strategy, Standbys: r.standbys(), Place: api.Place{Spread: "node"}})
		return err
	})
	return g, err
}

// well waits until the node that keeps the group finds all of its members well.
func (r *round) well(ctx context.Context) error {
	return until(ctx, patience, "the group is well", func(ctx context.Context) error {
		now, err := r.nodes[0].Client.Groups().Heal(ctx, team, api.HealGroup{})
		if err == nil && now.Healthy != now.Size {
			err = fmt.Errorf("%d of %d members are well: %+v", now.Healthy, now.Size, now.Members)
		}
		return err
	})
}

// change makes the changes, one after the other; after each some more events come.
func (r *round) change(ctx context.Context, c *crew, changes ...string) (err error) {
	keeper := r.nodes[0]
	if !slices.Contains(changes, "lost") {
		w := r.storm(ctx, r.rng.IntN(2) == 0, keeper)
		defer func() { err = errors.Join(err, w.calm()) }()
	}
	for _, change := range changes {
		g, err := keeper.Client.Groups().Get(ctx, team)
		if err != nil {
			return err
		}
		r.book.joined(g.Members)
		for _, m := range g.Members { // what members that go have applied so far
			if err := r.readSoon(ctx, m.EntityID); err != nil {
				return err
			}
		}
		switch change {
		case "grow":
			err = r.scale(ctx, keeper, g.Size+1+r.rng.IntN(2))
		case "shrink":
			size := max(1, g.Size-1-r.rng.IntN(2))
			for _, m := range g.Members { // grown again, it has these again, empty
				if m.Index >= size {
					r.book.renew(m.EntityID)
				}
			}
			err = r.scale(ctx, keeper, size)
		case "heal":
			err = r.heal(ctx, keeper, g)
		case "remade":
			err = r.remake(ctx, keeper, g)
		case "lost":
			err = r.lose(ctx, c, keeper, g)
		}
		if err != nil {
			return err
		}
		if err := c.more(ctx, 20); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) readSoon(ctx context.Context, daemon string) error {
	return until(ctx, patience, "the chain of "+daemon+" is read", func(ctx context.Context) error {
		_, err := r.read(ctx, r.nodes[0], daemon)
		return err
	})
}

func (r *round) scale(ctx context.Context, keeper *fleet.Node, size int) error {
	r.does("to %d", size)
	return until(ctx, patience, fmt.Sprintf("the group has %d members", size), func(ctx context.Context) error {
		_, err := keeper.Client.Groups().Scale(ctx, team, size)
		return err
	})
}

// heal removes a member by hand: it is provably nowhere, and made anew.
func (r *round) heal(ctx context.Context, keeper *fleet.Node, g api.Group) error {
	m := g.Members[r.rng.IntN(len(g.Members))]
	r.book.renew(m.EntityID)
	r.does("member %d removed by hand", m.Index)
	err := until(ctx, patience, "the member is removed", func(ctx context.Context) error {
		_, err := keeper.Client.Daemons().Remove(ctx, m.EntityID)
		if code(err) == "daemon-not-found" {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.well(ctx)
}

// lose kills a node, declares its members lost, and starts the node again.
func (r *round) lose(ctx context.Context, c *crew, keeper *fleet.Node, g api.Group) error {
	victim := r.nodes[1+r.rng.IntN(len(r.nodes)-1)]
	r.does("node %s lost", victim.Name)
	self, err := victim.Client.Node().Get(ctx)
	if err != nil {
		return err
	}
	r.add(&r.totals.kills, 1)
	if err := victim.Kill(); err != nil {
		return err
	}
	var lost []api.GroupMember
	for _, m := range g.Members {
		if m.NodeID == self.NodeID {
			lost = append(lost, m)
		}
	}
	if err := r.declareLost(ctx, keeper, lost); err != nil {
		return err
	}
	if err := c.more(ctx, 10); err != nil {
		return err
	}
	if err := victim.Start(ctx); err != nil {
		return err
	}
	return until(ctx, patience, "what came back of the lost members is stopped", func(ctx context.Context) error {
		if _, err := keeper.Client.Groups().Heal(ctx, team, api.HealGroup{}); err != nil {
			return err
		}
		owners := make(map[string][]string)
		for _, n := range r.nodes {
			list, err := n.Client.Daemons().List(ctx, false)
			if err != nil {
				return err
			}
			for _, d := range list {
				if owners[d.EntityID] = append(owners[d.EntityID], n.Name); len(owners[d.EntityID]) > 1 {
					return fmt.Errorf("nodes %v have daemon %s", owners[d.EntityID], d.Name)
				}
			}
		}
		return nil
	})
}

// remadeEpochs is by how much the epoch of a member grows at least that is made anew; one
// that its standby took over has the next.
const remadeEpochs = 1 << 19

// declareLost declares members lost whose node is gone, and waits until all are well. In a
// cluster their standbys take them over at the same time: of each member one of the two
// wins.
func (r *round) declareLost(ctx context.Context, keeper *fleet.Node, lost []api.GroupMember) error {
	for _, m := range lost {
		err := until(ctx, patience, fmt.Sprintf("member %d is declared lost", m.Index), func(ctx context.Context) error {
			_, err := keeper.Client.Groups().Heal(ctx, team, api.HealGroup{Lost: []int{m.Index}})
			if code(err) == "member-alive" { // it was taken over, or has been made anew
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := r.well(ctx); err != nil {
		return err
	}
	now, err := keeper.Client.Groups().Get(ctx, team)
	if err != nil {
		return err
	}
	for _, m := range lost {
		if i := slices.IndexFunc(now.Members, func(x api.GroupMember) bool { return x.Index == m.Index }); i >= 0 && now.Members[i].Epoch >= m.Epoch+remadeEpochs {
			r.book.renew(m.EntityID)
		}
	}
	return nil
}

// remake removes the group, and makes one of the same name.
func (r *round) remake(ctx context.Context, keeper *fleet.Node, g api.Group) error {
	r.does("made again")
	r.book.buryTeam(g.Members)
	err := until(ctx, patience, "the group is removed", func(ctx context.Context) error {
		_, err := keeper.Client.Groups().Remove(ctx, team)
		if code(err) == "group-not-found" {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = r.team(ctx, keeper, g.Strategy, g.Size)
	return err
}

// judgeGroup judges by the chains of all members that there are.
func (r *round) judgeGroup(ctx context.Context, keepers ...*fleet.Node) error {
	var members []string
	for _, n := range keepers {
		list, err := n.Client.Groups().List(ctx, false)
		if err != nil {
			return err
		}
		for _, g := range list {
			for _, m := range g.Members {
				members = append(members, m.EntityID)
			}
		}
	}
	slices.Sort(members)
	if err := r.settled(ctx, members...); err != nil {
		return err
	}
	return r.judge(ctx, r.nodes[0], slices.Compact(members)...)
}

// twins makes two groups of one name on nodes that have not met. When they have, nobody's
// events are applied by two of them.
func twins(ctx context.Context, r *round) error {
	r.clustered = false
	r.does("two groups of one name")
	if err := r.place(3); err != nil {
		return err
	}
	for _, n := range r.nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	for _, n := range r.nodes[:2] {
		if _, err := push(ctx, n, 1); err != nil {
			return err
		}
		if _, err := r.team(ctx, n, "round-robin", 2); err != nil {
			return err
		}
	}
	for i, n := range r.nodes {
		for _, before := range r.nodes[:i] {
			token, err := before.Client.Node().JoinToken(ctx, time.Minute, "all")
			if err != nil {
				return err
			}
			if _, err := n.Client.Node().Join(ctx, token.Token); err != nil {
				return err
			}
		}
	}
	for i := range 50 {
		e := r.book.enter("group/"+team, fmt.Sprintf("order-%d", i), fmt.Sprintf("order-%d", i))
		for range 3 {
			r.add(&r.repeats, 1)
			r.settleAt(ctx, r.any(r.rng), e)
		}
	}
	if n := r.book.acknowledged(); n > 0 {
		r.problem("two nodes keep a group of one name: want every event refused as ambiguous, %d of 50 are applied", n)
	}
	return r.judgeGroup(ctx, r.nodes[:2]...)
}

// settleAt is settle at one node.
func (r *round) settleAt(ctx context.Context, n *fleet.Node, e *event) {
	err := until(ctx, patience, fmt.Sprintf("event %q to %s is settled at node %s", e.text, e.to, n.Name), func(ctx context.Context) error {
		settled, err := r.try(ctx, n, e)
		if settled {
			return nil
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.problem("%v", err)
	}
}
