package main

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/scripts/internal/fleet"
	"wasmhost.example/scripts/internal/spaces"
)

// cut does something to the links of the node with index i for up to four leases:
//
//	alone     | nothing goes from it to others, nor from them to it
//	mute      | nothing goes from it to others
//	deaf      | nothing goes from others to it
//	apart     | nothing goes between it and one other
//	shattered | nothing goes between any two: no majority is left
//	rough     | all links are slow and lose packets
func (t *trial) cut(ctx context.Context, i int) (what string, err error) {
	set := t.net.Set
	worse := spaces.Weather{Cut: true}
	others := make([]int, 0, len(t.nodes))
	for j := range t.nodes {
		if j != i {
			others = append(others, j)
		}
	}
	draw := t.rng.IntN(8)
	switch draw {
	case 0, 1:
		what = "alone:"
	case 2:
		what, set = "mute:", t.net.SetOneWay
	case 3:
		what, set = "deaf:", func(i, j int, w spaces.Weather) { t.net.SetOneWay(j, i, w) }
	case 4, 5:
		what, others = "apart from "+t.nodes[others[0]].Name+":", others[:1]
	case 6:
		what = "shattered:"
	default:
		what = "rough:"
		worse = spaces.Weather{Delay: time.Duration(1+t.rng.IntN(20)) * time.Millisecond, Loss: float64(1+t.rng.IntN(8)) / 100}
	}
	t.cuts++
	switch draw {
	case 6:
		t.net.SetAll(worse)
	case 7:
		t.cuts--
		t.bad++
		t.net.SetAll(worse)
	default:
		for _, j := range others {
			set(i, j, worse)
		}
	}
	d := time.Duration(t.rng.Int64N(int64(4 * t.lease)))
	fleet.Pause(ctx, d)
	t.net.SetAll(spaces.Weather{})
	return fmt.Sprintf("%.1f s %s", d.Seconds(), what), nil
}
