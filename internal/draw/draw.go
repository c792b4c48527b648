// Package draw checks properties in tests: it calls a function with many cases that it
// draws at random, and says which case failed and how to repeat it.
package draw

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// cases is how many a property is checked with.
const cases = 100

// seedVariable names the environment variable that repeats one case.
const seedVariable = "DRAW_SEED"

// T is one case of a property. What was drawn for it is in its log.
type T struct {
	*testing.T
	rng *rand.Rand
}

// Check calls property with 100 cases, each a subtest whose name is its seed; with
// DRAW_SEED in the environment, with the case of that seed alone.
func Check(t *testing.T, property func(*T)) {
	t.Helper()
	first, n := rand.Uint64()>>1, cases
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		first, n = seed, 1
	}

	for seed := first; seed < first+uint64(n); seed++ {
		ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			property(&T{t, rand.New(rand.NewPCG(seed, 0))})
		})
		if !ok {
			t.Fatalf("%s=%d repeats it", seedVariable, seed)
		}
	}
}

// Int draws a number from least to most.
func Int[V ~int | ~int64](t *T, what string, least, most V) V {
	t.Helper()
	return drawn(t, what, least+V(t.rng.Int64N(int64(most-least)+1)))
}

// Float draws a number from least to most.
func Float(t *T, what string, least, most float64) float64 {
	t.Helper()
	return drawn(t, what, least+t.rng.Float64()*(most-least))
}

// Bool draws true or false.
func Bool(t *T, what string) bool {
	t.Helper()
	return drawn(t, what, t.rng.IntN(2) == 1)
}

// One draws one of the list, which is not empty.
func One[V any](t *T, what string, list ...V) V {
	t.Helper()
	return drawn(t, what, list[t.rng.IntN(len(list))])
}

// Order draws an order of the list, and returns a copy that has it.
func Order[V any](t *T, what string, list []V) []V {
	t.Helper()
	out := make([]V, len(list))
	for i, from := range t.rng.Perm(len(list)) {
		out[i] = list[from]
	}
	return drawn(t, what, out)
}

func drawn[V any](t *T, what string, v V) V {
	t.Helper()
	t.Logf("drawn: %s: %v", what, v)
	return v
}
