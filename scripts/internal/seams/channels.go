package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost/wire/control"
)

// channels removes a channel and makes it again, under daemons that are subscribed, which
// move, and readers with cursors, while nodes die.
func channels(ctx context.Context, r *round) error {
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	a := r.nodes[0]
	d, _, err := r.pair(ctx)
	if err != nil {
		return err
	}
	first, second := 20+r.rng.IntN(20), 3+r.rng.IntN(10)
	r.does("%d events, then %d", first, second)
	if err := r.publishAll(ctx, "old", first); err != nil {
		return err
	}
	if err := r.hears(ctx, d.EntityID, "old", first); err != nil {
		return err
	}
	ended := make(chan error, 1)
	reading, enough := context.WithCancel(ctx)
	defer enough()
	began := make(chan struct{})
	go func() { ended <- r.readToEnd(reading, began) }()
	select {
	case <-began:
	case err := <-ended:
		return err
	}
	w := r.storm(ctx, r.rng.IntN(2) == 0, a)
	err = r.remadeChannel(ctx)
	if err == nil {
		err = r.removed(ctx, ended)
	}
	if err == nil {
		err = r.publishAll(ctx, "new", second)
	}
	if err == nil {
		err = r.oldCursor(ctx, uint64(first))
	}
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	if err := r.settled(ctx, "d", "other"); err != nil {
		return err
	}
	if err := r.hears(ctx, d.EntityID, "new", second); err != nil {
		r.problem("a channel made again with %d events: want the daemon that is subscribed to hear all, %v", second, err)
	}
	return r.finish(ctx, "d", "other")
}

func (r *round) publishAll(ctx context.Context, word string, count int) error {
	for i := range count {
		err := until(ctx, patience, "an event is published", func(ctx context.Context) error {
			return r.publish(ctx, "news", fmt.Sprintf("%s-%d", word, i+1))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hears waits until the daemon has applied that many of the channel's events, in order.
func (r *round) hears(ctx context.Context, daemon, word string, count int) error {
	return until(ctx, patience, fmt.Sprintf("daemon %.8s hears %d events %s-N", daemon, count, word), func(ctx context.Context) error {
		lines, err := r.read(ctx, r.nodes[0], daemon)
		if err != nil {
			return err
		}
		var got []string
		for _, h := range lines {
			if strings.HasPrefix(h.text, word+"-") {
				got = append(got, h.text)
			}
		}
		for i, text := range got {
			if text != fmt.Sprintf("%s-%d", word, i+1) {
				r.problem("the daemon hears %v: want %s-1, %s-2 and so on, each once", got, word, word)
				return nil
			}
		}
		if len(got) < count {
			return fmt.Errorf("it hears %d, not %d", len(got), count)
		}
		return nil
	})
}

// readToEnd follows the channel with the command line's reader until that ends; began is
// closed when it has had the first event.
func (r *round) readToEnd(ctx context.Context, began chan struct{}) error {
	zero := uint64(0)
	var once sync.Once
	err := r.nodes[0].Client.FollowChannel(ctx, "news", control.AtNode{}, &zero, func(control.ChannelEvent) error {
		once.Do(func() { close(began) })
		return nil
	})
	return err
}

// remadeChannel removes the channel, and makes one of the same name.
func (r *round) remadeChannel(ctx context.Context) error {
	a := r.nodes[0].Client
	if _, err := a.RemoveChannel(ctx, "news", control.AtNode{}); err != nil {
		return err
	}
	_, err := a.CreateChannel(ctx, control.CreateChannel{Name: "news"})
	return err
}

// removed waits for the end of the reader whose channel was removed: it is told.
func (r *round) removed(ctx context.Context, ended <-chan error) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-ended:
		if code(err) == "" {
			r.problem("a reader whose channel is removed: want an error with a name, it ends with %v", err)
		}
	case <-timer.C:
		r.problem("a reader whose channel is removed: want it ended, it still waits after %s", patience)
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// oldCursor reads on from a cursor of the channel before: the reader is told, by an error
// or a gap, that what it had is gone.
func (r *round) oldCursor(ctx context.Context, after uint64) error {
	reading, enough := context.WithTimeout(ctx, patience)
	defer enough()
	ended := make(chan error, 1)
	var mu sync.Mutex
	var got []control.ChannelEvent
	go func() {
		ended <- r.nodes[0].Client.FollowChannel(reading, "news", control.AtNode{}, &after, func(ev control.ChannelEvent) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, ev)
			if ev.Text != nil && *ev.Text == "last" {
				enough()
			}
			return nil
		})
	}()
	for {
		head, err := r.nodes[0].Client.Channel(ctx, "news", control.AtNode{})
		if err != nil {
			return err
		}
		if head.Next > after+1 {
			break
		}
		if err := r.publish(ctx, "news", "more"); err != nil {
			return err
		}
	}
	if err := r.publish(ctx, "news", "last"); err != nil {
		return err
	}
	err := <-ended
	mu.Lock()
	defer mu.Unlock()
	told := code(err) != "" || slices.ContainsFunc(got, func(ev control.ChannelEvent) bool { return ev.Lost > 0 }) || len(got) > 0 && got[0].Sequence == 1
	if !told {
		r.problem("a reader of a channel made again, with the cursor %d of the one before: want it told, it reads %d events, and ends with %v", after, len(got), err)
	}
	return context.Cause(ctx)
}
