package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// totals is what all rounds did. It is safe for concurrent use, but for rounds.
type totals struct {
	rounds int

	mu                         sync.Mutex
	ids, repeats, moves, kills int
	refusals                   map[string]int // of ids and moves, by the error's name
}

func newTotals() *totals { return &totals{refusals: make(map[string]int)} }

func (t *totals) add(n *int, by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*n += by
}

func (t *totals) refused(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refusals[code]++
}

func (t *totals) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused []string
	for _, code := range slices.Sorted(maps.Keys(t.refusals)) {
		refused = append(refused, fmt.Sprintf("%s %d", code, t.refusals[code]))
	}
	if len(refused) == 0 {
		refused = []string{"none"}
	}
	return fmt.Sprintf("%d rounds, %d ids, %d repeats, %d moves, %d kills, refusals: %s", t.rounds, t.ids, t.repeats, t.moves, t.kills, strings.Join(refused, ", "))
}
