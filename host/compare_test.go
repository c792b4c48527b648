package host

import (
	"testing"

	"wasmhost.example/host/chain"
)

func TestOrderOfHistories(t *testing.T) {
	sum := func(b byte) chain.Hash { return chain.Hash{b} }
	at := func(b byte) []byte { h := chain.Hash{b}; return h[:] }
	for _, c := range []struct {
		name             string
		ours, theirs     extent
		oursAt, theirsAt []byte
		granted          uint64
		is               relation
		goes             verdict
	}{
		{"both empty", extent{}, extent{}, nil, nil, 1, sameHistory, oursGoesOn},
		{"equal", extent{1, 5, sum(5)}, extent{1, 5, sum(5)}, nil, at(5), 1, sameHistory, oursGoesOn},
		{"they lack some", extent{1, 5, sum(5)}, extent{1, 3, sum(3)}, at(3), nil, 1, theirsPrefix, oursGoesOn},
		{"they lack all", extent{1, 5, sum(5)}, extent{}, nil, nil, 1, theirsPrefix, oursGoesOn},
		{"they lack what was trimmed here", extent{1, 5, sum(5)}, extent{1, 3, sum(3)}, nil, nil, 1, theirsPrefix, oursGoesOn},
		{"they have more", extent{1, 3, sum(3)}, extent{1, 5, sum(5)}, nil, at(3), 1, oursPrefix, theirsGoesOn},
		{"they have more, and trimmed it", extent{1, 3, sum(3)}, extent{1, 5, sum(5)}, nil, nil, 1, oursPrefix, theirsGoesOn},
		{"we have nothing", extent{}, extent{1, 5, sum(5)}, nil, nil, 1, oursPrefix, theirsGoesOn},
		{"fork at one place", extent{1, 5, sum(5)}, extent{1, 5, sum(6)}, nil, at(6), 1, forkedHistories, undecided},
		{"fork, ours longer", extent{1, 6, sum(6)}, extent{1, 5, sum(5)}, at(7), nil, 1, forkedHistories, undecided},
		{"fork, theirs longer", extent{1, 5, sum(5)}, extent{1, 6, sum(6)}, nil, at(7), 1, forkedHistories, undecided},
		{"fork, our epoch granted", extent{2, 5, sum(5)}, extent{1, 9, sum(9)}, nil, at(7), 2, forkedHistories, oursGoesOn},
		{"fork, their epoch granted", extent{1, 9, sum(9)}, extent{2, 5, sum(5)}, at(7), nil, 2, forkedHistories, theirsGoesOn},
		{"more, under an epoch never granted", extent{1, 3, sum(3)}, extent{1 << 62, 5, sum(5)}, nil, at(3), 1, oursPrefix, undecided},
		{"fork, our epoch never granted", extent{3, 5, sum(5)}, extent{1, 9, sum(9)}, nil, at(7), 2, forkedHistories, undecided},
	} {
		got := relate(c.ours, c.theirs, c.oursAt, c.theirsAt)
		if got != c.is {
			t.Errorf("%s: theirs is %s, want %s", c.name, got, c.is)
		}
		if v := judge(got, c.ours, c.theirs, c.granted); v != c.goes {
			t.Errorf("%s: the verdict is %d, want %d", c.name, v, c.goes)
		}
	}
}
