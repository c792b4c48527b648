package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// attack is one row of the table. Ten lines make one: what is tried, the refusal that
// is expected, and a function that tries it and returns what the node said.
type attack struct {
	name  string
	tries string
	want  []string // what the node says contains each of these

	nodes  int      // how many, joined to one another; 0: one
	rights string   // of a node that another lets in; empty: all
	args   []string // of serve
	bounds bounds   // zero fields: those of held

	run func(ctx context.Context, s *scene) (said string, err error)
}

// bounds are what a node's other users and its machine may suffer meanwhile.
type bounds struct {
	pause time.Duration // the longest time without an answer on /healthz
	p99   time.Duration // of an event to the light daemon
	peak  int64         // bytes of resident memory
}

// held are the bounds where a row states no others. They are far above what is
// measured on an idle machine of two cores, and far below what each attack did
// before it was refused.
var held = bounds{pause: time.Second, p99: 400 * time.Millisecond, peak: 640 << 20}

func (b bounds) over(d bounds) bounds {
	if b.pause == 0 {
		b.pause = d.pause
	}
	if b.p99 == 0 {
		b.p99 = d.p99
	}
	if b.peak == 0 {
		b.peak = d.peak
	}
	return b
}

// result is what came of a row.
type result struct {
	said string
	measured
}

// try runs the attack against nodes of its own.
func (a *attack) try(ctx context.Context, dir, bin string) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	dir = filepath.Join(dir, strings.Map(fileChar, a.name))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return r, err
	}
	s := &scene{dir: dir}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.start(ctx, bin, a); err != nil {
		return r, fmt.Errorf("preparing: %w", err)
	}

	before, err := s.facts(ctx)
	if err != nil {
		return r, err
	}
	watch := s.watch(ctx)
	r.said, err = a.run(ctx, s)
	r.measured = watch.end(ctx)
	if err != nil {
		return r, err
	}
	for _, w := range a.want {
		if !strings.Contains(r.said, w) {
			return r, fmt.Errorf("the node did not say %q", w)
		}
	}

	after, err := s.facts(ctx)
	if err != nil {
		return r, err
	}
	if before != after {
		return r, fmt.Errorf("the bystander changed:\n  before %s\n  after  %s", before, after)
	}
	return r, r.within(a.bounds.over(held))
}

func (m *measured) within(b bounds) error {
	var err error
	if m.failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d events to the light daemon failed: %s", m.failed, m.failure))
	}
	if m.pause > b.pause {
		err = errors.Join(err, fmt.Errorf("the node was silent for %v, at most %v", m.pause, b.pause))
	}
	if m.p99 > b.p99 {
		err = errors.Join(err, fmt.Errorf("the light daemon's p99 was %v, at most %v", m.p99, b.p99))
	}
	if m.peak > b.peak {
		err = errors.Join(err, fmt.Errorf("the node took %d MiB, at most %d", m.peak>>20, b.peak>>20))
	}
	return err
}

func fileChar(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}
