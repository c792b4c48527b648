package sandbox

import (
	"errors"
	"testing"

	"wasmhost.example/abi"
)

// What a host does for a plug-in before it runs is within the limits, too: an input
// that costs more fuel than there is, or does not fit, is a fault.
func TestInputsOfPluginsAreWithinTheLimits(t *testing.T) {
	wasm, err := abi.Adapt(wasmOf(t, "foreign/tally.wasm"), abi.ConventionExtism, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := engine(t).Compile(ctx, wasm, 1024)
	if err != nil {
		t.Fatal(err)
	}
	little, small := DefaultLimits(), DefaultLimits()
	little.Fuel, small.MemoryPages = 1000, uint32(m.image.size/pageSize)
	for limit, limits := range map[string]Limits{abi.LimitFuel: little, abi.LimitMemory: small} {
		g, err := m.NewGuest(Options{Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		var f *abi.Fault
		if _, err := g.Process(&at, make([]byte, m.image.size)); !errors.As(err, &f) || f.Limit != limit {
			t.Errorf("an input ends with %v, want the limit %s", err, limit)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}
