package main

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/host/migration"
	"wasmhost.example/scripts/internal/fleet"
	"wasmhost.example/scripts/internal/spaces"
)

// round is one move of the daemon, and what happens meanwhile.
type round struct {
	*trial
	source, target int // nodes
	now            spaces.Weather
	what           string
	move           *move
	forever        bool // the link stays cut until it is settled how the daemon stands
}

// kase is one kind of round: the weather before the move begins, and what is done
// while it goes on.
type kase struct {
	name    string
	weather func(r *round) spaces.Weather
	during  func(ctx context.Context, r *round) error // nil: nothing
	rate    int64                                     // at most, in bytes a second, so that there is a while; 0: any
}

var cases = []kase{
	{name: "delay", weather: func(r *round) spaces.Weather { return spaces.Weather{Delay: r.ms(1, 200)} }},
	{name: "loss", weather: func(r *round) spaces.Weather { return spaces.Weather{Loss: float64(1+r.rng.IntN(10)) / 100} }},
	{name: "reorder", weather: func(r *round) spaces.Weather {
		return spaces.Weather{Delay: r.ms(2, 20), Reorder: float64(5+r.rng.IntN(25)) / 100}
	}},
	{name: "slow", weather: func(*round) spaces.Weather { return spaces.Weather{Rate: 10e6 / 8} }},
	{name: "rough", weather: func(r *round) spaces.Weather {
		return spaces.Weather{Delay: r.ms(1, 20), Loss: float64(1+r.rng.IntN(3)) / 100, Reorder: 0.1, Rate: 10e6 / 8}
	}},
	{name: "address", weather: near, during: changeAddress, rate: mib << 20},
	{name: "cut", weather: near, during: cutForOneSecond, rate: mib << 20},
	{name: "unplug", weather: near, during: unplug, rate: mib << 20},
	{name: "cutoff", weather: near, during: cutForEver, rate: mib << 20},
	{name: "kill", weather: near, during: kill, rate: mib << 20},
}

func caseNames() []string {
	var out []string
	for _, c := range cases {
		out = append(out, c.name)
	}
	return out
}

func (r *round) ms(least, most int) time.Duration {
	return time.Duration(least+r.rng.IntN(most-least+1)) * time.Millisecond
}

// near is a link on which each phase takes a few milliseconds.
func near(r *round) spaces.Weather { return spaces.Weather{Delay: r.ms(2, 15)} }

// somewhere waits for the moment at which something is to happen: the beginning
// of a phase, or some time after.
func (r *round) somewhere(ctx context.Context) {
	phases := []migration.Phase{migration.Snapshot, migration.Transfer, migration.Transfer, migration.Restore, migration.Replay, migration.Cutover}
	p := phases[r.rng.IntN(len(phases))]
	later := time.Duration(0)
	switch {
	case p == migration.Transfer:
		later = r.ms(0, 900)
	case r.rng.IntN(2) == 0:
		later = r.ms(0, 30)
	}
	r.what += fmt.Sprintf(" at %s+%v", p, later)
	r.move.reach(ctx, p)
	fleet.Pause(ctx, later)
}

// changeAddress gives one side another address.
func changeAddress(ctx context.Context, r *round) error {
	i, gap := r.oneSide(), r.rng.IntN(2) == 0
	r.what += " of " + r.nodes[i].Name
	if gap {
		r.what += ", after none"
	}
	r.somewhere(ctx)
	return r.net.Readdress(ctx, r.net.Hosts[i], gap)
}

// cutForOneSecond cuts the link between both sides, or one side off, for a second.
func cutForOneSecond(ctx context.Context, r *round) error {
	before := r.now
	cut := r.cutSome()
	r.somewhere(ctx)
	cut()
	fleet.Pause(ctx, time.Second)
	r.net.SetAll(before)
	return nil
}

// unplug takes one side's link down for a second: unlike one that is cut further
// on, that ends its connections.
func unplug(ctx context.Context, r *round) error {
	i := r.oneSide()
	r.what += " of " + r.nodes[i].Name
	r.somewhere(ctx)
	h := r.net.Hosts[i]
	if err := h.Link(ctx, "down"); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Second)
	return h.Link(ctx, "up")
}

// cutForEver cuts the link between both sides, or one side off, until it is settled
// who has the daemon.
func cutForEver(ctx context.Context, r *round) error {
	cut := r.cutSome()
	r.somewhere(ctx)
	cut()
	r.forever = true
	return nil
}

// cutSome draws what is to be cut, and returns what cuts it.
func (r *round) cutSome() func() {
	w := r.now
	w.Cut = true
	if r.rng.IntN(2) == 0 {
		r.what += fmt.Sprintf(" of %s and %s", r.nodes[r.source].Name, r.nodes[r.target].Name)
		return func() { r.net.Set(r.source, r.target, w) }
	}
	i := r.oneSide()
	r.what += " of " + r.nodes[i].Name + " and all others"
	return func() {
		for j := range r.nodes {
			if j != i {
				r.net.Set(i, j, w)
			}
		}
	}
}

// kill kills one side, and starts it again.
func kill(ctx context.Context, r *round) error {
	n := r.nodes[r.oneSide()]
	r.what += " of " + n.Name
	r.somewhere(ctx)
	if err := n.Kill(); err != nil {
		return err
	}
	fleet.Pause(ctx, r.ms(0, 500))
	return n.Start(ctx)
}

func (r *round) oneSide() int { return []int{r.source, r.target}[r.rng.IntN(2)] }
