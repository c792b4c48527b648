package main

import (
	"fmt"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// What is flat: the first third of a run is warm-up. Of the rest, the least that a
// node's process held in the last third is compared with the least that it held in
// the first third: peaks are work, floors that rise are leaks. A floor may rise by a
// quarter and an allowance. The disk may hold, at any time, what a node's daemons may
// keep by their limits, and an allowance for the store.

// sample is what a node held at one time.
type sample struct {
	at    time.Time
	usage fleet.Usage
}

// held is a resource of which floors are compared.
type held struct {
	name      string
	of        func(fleet.Usage) int64
	allowance int64
	unit      string
}

var resources = []held{
	{"memory", func(u fleet.Usage) int64 { return u.Resident >> 20 }, 48, "MiB"},
	{"goroutines", func(u fleet.Usage) int64 { return u.Goroutines }, 64, "goroutines"},
	{"open files", func(u fleet.Usage) int64 { return u.Files }, 24, "files"},
}

// leastSamples is how many samples a third must have to say anything.
const leastSamples = 3

// violations are the resources of a node that are not flat, named.
func violations(node string, samples []sample, diskBound int64) (out []string) {
	if len(samples) < 3*leastSamples {
		return []string{fmt.Sprintf("node %s: %d samples say nothing: let it run longer", node, len(samples))}
	}
	began, ended := samples[0].at, samples[len(samples)-1].at
	warm := began.Add(ended.Sub(began) / 3)
	span := ended.Sub(warm)
	early := within(samples, warm, warm.Add(span/3))
	late := within(samples, ended.Add(-span/3), ended)
	if len(early) < leastSamples || len(late) < leastSamples {
		return []string{fmt.Sprintf("node %s: %d samples after warm-up and %d at the end say nothing", node, len(early), len(late))}
	}
	for _, r := range resources {
		before, after := floor(early, r.of), floor(late, r.of)
		if bound := before + before/4 + r.allowance; after > bound {
			out = append(out, fmt.Sprintf("node %s: %s rise: at least %d %s after warm-up, at least %d at the end, at most %d are flat", node, r.name, before, r.unit, after, bound))
		}
	}
	for _, s := range samples {
		if s.usage.Disk > diskBound {
			out = append(out, fmt.Sprintf("node %s: the disk holds %d MiB after %v, its daemons may keep %d MiB", node, s.usage.Disk>>20, s.at.Sub(began).Round(time.Second), diskBound>>20))
			break
		}
	}
	return out
}

func within(samples []sample, from, to time.Time) (out []sample) {
	for _, s := range samples {
		if !s.at.Before(from) && !s.at.After(to) {
			out = append(out, s)
		}
	}
	return out
}

func floor(samples []sample, of func(fleet.Usage) int64) int64 {
	least := of(samples[0].usage)
	for _, s := range samples {
		least = min(least, of(s.usage))
	}
	return least
}
