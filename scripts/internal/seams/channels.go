package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
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
	ended, read := make(chan error, 1), make(chan channelLine, first)
	reading, enough := context.WithCancel(ctx)
	defer enough()
	go func() {
		ended <- r.follow(reading, "0", func(line channelLine) bool { read <- line; return false })
	}()
	var last channelLine
	for range first {
		select {
		case last = <-read:
		case err := <-ended:
			return fmt.Errorf("a reader of the channel ends: %w", err)
		}
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
		err = r.oldCursor(ctx, last)
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

// channelLine is one line of what a node says to who follows a channel.
type channelLine struct {
	Sequence uint64       `json:"sequence"`
	Cursor   string       `json:"cursor"` // from where one reads on; a node that has none takes the sequence
	Text     string       `json:"text"`
	Lost     uint64       `json:"lost_through"`
	Error    *api.Problem `json:"error"`
}

// follow reads the channel from after the cursor until fn says that it is enough, or the
// node ends it; its reason is the error.
func (r *round) follow(ctx context.Context, after string, fn func(channelLine) (enough bool)) (err error) {
	body, err := r.nodes[0].Get(ctx, "/v1/channels/news/events?after="+after)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	for lines := json.NewDecoder(body); ; {
		var line channelLine
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case line.Error != nil:
			return line.Error
		case fn(line):
			return nil
		}
	}
}

// remadeChannel removes the channel, and makes one of the same name.
func (r *round) remadeChannel(ctx context.Context) error {
	a := r.nodes[0].Client
	if _, err := a.Channels().Remove(ctx, "news", client.AtNode{}); err != nil {
		return err
	}
	_, err := a.Channels().Create(ctx, api.CreateChannel{Name: "news"})
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
func (r *round) oldCursor(ctx context.Context, last channelLine) error {
	for { // the channel made again has more events than the cursor counts
		now, err := r.nodes[0].Client.Channels().Get(ctx, "news", client.AtNode{})
		if err != nil {
			return err
		}
		if now.Next > last.Sequence+2 {
			break
		}
		if err := r.publish(ctx, "news", "more"); err != nil {
			return err
		}
	}
	cursor := last.Cursor
	if cursor == "" {
		cursor = fmt.Sprint(last.Sequence)
	}
	reading, enough := context.WithTimeout(ctx, patience)
	defer enough()
	var first channelLine
	err := r.follow(reading, cursor, func(line channelLine) bool { first = line; return true })
	if err == nil && first.Lost == 0 && first.Sequence > 1 {
		r.problem("a reader of a channel made again, with the cursor %s of the one before: want an error or a gap, it reads on with event %d", cursor, first.Sequence)
	}
	return context.Cause(ctx)
}
