package main

import (
	"strings"
	"testing"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// What rises is named; peaks and warm-up are not.
func TestWhatRisesIsNamed(t *testing.T) {
	const n = 90
	base := time.Unix(1e9, 0)
	for name, x := range map[string]struct {
		usage func(i int) fleet.Usage
		want  []string
	}{
		"flat, with peaks": {func(i int) fleet.Usage {
			return fleet.Usage{Resident: 100<<20 + int64(i%5)*200<<20, Goroutines: 50 + int64(i%3)*1000, Files: 40, Disk: 1 << 20}
		}, nil},
		"warm-up": {func(i int) fleet.Usage {
			return fleet.Usage{Resident: int64(min(i, n/3)) << 24, Goroutines: int64(min(i, n/3)) * 100}
		}, nil},
		"memory leaks":              {func(i int) fleet.Usage { return fleet.Usage{Resident: 100<<20 + int64(i)<<22} }, []string{"memory"}},
		"goroutines and files leak": {func(i int) fleet.Usage { return fleet.Usage{Goroutines: int64(i) * 3, Files: int64(i)} }, []string{"goroutines", "open files"}},
		"the disk fills":            {func(i int) fleet.Usage { return fleet.Usage{Disk: int64(i) << 20} }, []string{"the disk holds 65 MiB"}},
	} {
		var samples []sample
		for i := range n {
			samples = append(samples, sample{base.Add(time.Duration(i) * time.Second), x.usage(i)})
		}
		got := violations("a", samples, 64<<20)
		if len(got) != len(x.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i, want := range x.want {
			if !strings.HasPrefix(got[i], "node a: "+want) {
				t.Errorf("%s: %q, want %q", name, got[i], want)
			}
		}
		if got := violations("a", samples[:5], 1); len(got) != 1 || !strings.Contains(got[0], "say nothing") {
			t.Errorf("five samples: %q", got)
		}
	}
}
