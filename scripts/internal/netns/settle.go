package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// settleCut waits, while the link stays cut, until it is clear who has the daemon:
// one node serves it, and the source says so or waits; or none does, since the
// source has released it and the target has not heard of that. Then an operator
// takes it back.
func (r *round) settleCut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	const steady = 3 * time.Second // for which it has to stand so
	var since time.Time
	var last string
	for {
		state, err := r.standing(ctx)
		if err != nil {
			return err
		}
		if s := state.String(); s != last {
			since, last = time.Now(), s
		}
		switch {
		case state.serving > 1:
			return fmt.Errorf("two nodes serve the daemon: %s", last)
		case state.running || time.Since(since) < steady:
		case state.serving == 1:
			r.what += ", " + last
			return nil
		case state.waits:
			r.what += ", " + last + ", taken back"
			return r.takeBack(ctx)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("it does not come to rest: %s", last)
		}
		fleet.Pause(ctx, 50*time.Millisecond)
	}
}

// standing is how the daemon and its migration stand.
type standing struct {
	serving int  // nodes
	running bool // the migration goes on at its source
	waits   bool // the source waits for the target
}

func (s standing) String() string {
	switch {
	case s.running:
		return fmt.Sprintf("on its way, served by %d", s.serving)
	case s.waits:
		return fmt.Sprintf("released, served by %d", s.serving)
	}
	return fmt.Sprintf("served by %d", s.serving)
}

func (r *round) standing(ctx context.Context) (standing, error) {
	var s standing
	for _, n := range r.nodes {
		list, err := n.Client.Daemons().List(ctx, false)
		if err != nil {
			return s, err
		}
		for _, d := range list {
			if d.Name == daemon && (d.State == "running" || d.State == "passive") {
				s.serving++
			}
		}
	}
	list, err := r.nodes[r.source].Client.Migrations().List(ctx, false)
	for _, m := range list {
		if m.Role == "source" && m.State == "running" {
			s.running = true
		} else if m.Role == "source" {
			s.waits = true
		}
	}
	return s, err
}

// takeBack does what an operator does when the target is gone for good.
func (r *round) takeBack(ctx context.Context) error {
	r.byHand++
	if _, err := r.nodes[r.source].Client.Migrations().Resolve(ctx, daemon, api.Resolve{How: "take-back"}); err != nil {
		return fmt.Errorf("taking the daemon back: %w", err)
	}
	list, err := r.nodes[r.target].Client.Migrations().List(ctx, false)
	for range list {
		_, dropErr := r.nodes[r.target].Client.Migrations().Resolve(ctx, daemon, api.Resolve{How: "drop"})
		err = errors.Join(err, dropErr)
	}
	if err != nil {
		return fmt.Errorf("dropping what the target holds: %w", err)
	}
	_, err = r.owner(ctx)
	return err
}
