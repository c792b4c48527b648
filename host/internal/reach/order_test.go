package reach

import (
	"testing"

	"wasmhost.example/host/chain"
)

func TestOrderOfHistories(t *testing.T) {
	sum := func(b byte) chain.Hash { return chain.Hash{b} }
	at := func(b byte) []byte { h := chain.Hash{b}; return h[:] }
	for _, c := range []struct {
		name             string
		ours, theirs     Extent
		oursAt, theirsAt []byte
		granted          uint64
		is               Relation
		goes             Verdict
	}{
		{"both empty", Extent{}, Extent{}, nil, nil, 1, Same, OursGoesOn},
		{"equal", Extent{1, 5, sum(5)}, Extent{1, 5, sum(5)}, nil, at(5), 1, Same, OursGoesOn},
		{"they lack some", Extent{1, 5, sum(5)}, Extent{1, 3, sum(3)}, at(3), nil, 1, TheirsPrefix, OursGoesOn},
		{"they lack all", Extent{1, 5, sum(5)}, Extent{}, nil, nil, 1, TheirsPrefix, OursGoesOn},
		{"they lack what was trimmed here", Extent{1, 5, sum(5)}, Extent{1, 3, sum(3)}, nil, nil, 1, TheirsPrefix, OursGoesOn},
		{"they have more", Extent{1, 3, sum(3)}, Extent{1, 5, sum(5)}, nil, at(3), 1, OursPrefix, TheirsGoesOn},
		{"they have more, and trimmed it", Extent{1, 3, sum(3)}, Extent{1, 5, sum(5)}, nil, nil, 1, OursPrefix, TheirsGoesOn},
		{"we have nothing", Extent{}, Extent{1, 5, sum(5)}, nil, nil, 1, OursPrefix, TheirsGoesOn},
		{"fork at one place", Extent{1, 5, sum(5)}, Extent{1, 5, sum(6)}, nil, at(6), 1, Forked, Undecided},
		{"fork, ours longer", Extent{1, 6, sum(6)}, Extent{1, 5, sum(5)}, at(7), nil, 1, Forked, Undecided},
		{"fork, theirs longer", Extent{1, 5, sum(5)}, Extent{1, 6, sum(6)}, nil, at(7), 1, Forked, Undecided},
		{"fork, our epoch granted", Extent{2, 5, sum(5)}, Extent{1, 9, sum(9)}, nil, at(7), 2, Forked, OursGoesOn},
		{"fork, their epoch granted", Extent{1, 9, sum(9)}, Extent{2, 5, sum(5)}, at(7), nil, 2, Forked, TheirsGoesOn},
		{"more, under an epoch never granted", Extent{1, 3, sum(3)}, Extent{1 << 62, 5, sum(5)}, nil, at(3), 1, OursPrefix, Undecided},
		{"fork, our epoch never granted", Extent{3, 5, sum(5)}, Extent{1, 9, sum(9)}, nil, at(7), 2, Forked, Undecided},
	} {
		got := Relate(c.ours, c.theirs, c.oursAt, c.theirsAt)
		if got != c.is {
			t.Errorf("%s: theirs is %s, want %s", c.name, got, c.is)
		}
		if v := Judge(got, c.ours, c.theirs, c.granted); v != c.goes {
			t.Errorf("%s: the Verdict is %d, want %d", c.name, v, c.goes)
		}
	}
}
