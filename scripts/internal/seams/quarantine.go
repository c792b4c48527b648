package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
)

// quarantine has a daemon fail on an event of each kind, and move, and its nodes die; a
// new version of it takes them: tried again, each is what it was.
func quarantine(ctx context.Context, r *round) error {
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	a := r.nodes[0]
	d, other, err := r.pair(ctx)
	if err != nil {
		return err
	}
	crew := r.senders(ctx, "d", numbered)
	defer crew.done()
	if err := crew.more(ctx, 5); err != nil {
		return err
	}
	w := r.storm(ctx, r.rng.IntN(2) == 0)
	err = r.failAll(ctx, d, other)
	var list []api.Quarantined
	if err == nil {
		err = until(ctx, patience, "four events have failed", func(ctx context.Context) (err error) {
			if list, err = r.any(r.rng).Client.Quarantine().List(ctx, "d"); err == nil && len(list) != 4 {
				err = fmt.Errorf("%d have: %v", len(list), texts(list))
			}
			return err
		})
	}
	if err == nil {
		err = crew.more(ctx, 10) // while it goes about
	}
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	if err := r.settled(ctx, "d", "other"); err != nil {
		return err
	}
	if err := r.listed(ctx, list); err != nil {
		return err
	}
	at, err := r.home(ctx, "d")
	if err != nil {
		return err
	}
	digest, err := push(ctx, at, 2)
	if err != nil {
		return err
	}
	if _, err := at.Client.Daemons().Upgrade(ctx, "d", api.Upgrade{To: digest}); err != nil {
		return err
	}
	w = r.storm(ctx, false)
	err = r.retryAll(ctx, list, map[string]string{"direct": nobody, "timer": d.EntityID, "daemon": other.EntityID})
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	crew.done()
	if err := r.settled(ctx, "d", "other"); err != nil {
		return err
	}
	if left, err := a.Client.Quarantine().List(ctx, "d"); err != nil || len(left) > 0 {
		r.problem("all failed events were tried again with success: want none left, got %v, %v", texts(left), err)
	}
	return r.finish(ctx, "d", "other")
}

func texts(list []api.Quarantined) (out []string) {
	for _, q := range list {
		out = append(out, q.Kind+" "+string(q.Payload))
	}
	return out
}

// pair makes the daemon d, which hears node a's channel news, and another, which sends to
// it; both of version 1.
func (r *round) pair(ctx context.Context) (d, other api.Daemon, err error) {
	a, b := r.nodes[0], r.nodes[1]
	if _, err = push(ctx, b, 1); err != nil {
		return
	}
	if _, err = a.Client.Channels().Create(ctx, api.CreateChannel{Name: "news"}); err != nil {
		return
	}
	if d, err = r.spawn(ctx, b, api.Spawn{Name: "d", Subscribe: []api.Subscribe{{Publisher: "a", Channel: "news"}}}); err != nil {
		return
	}
	other, err = r.spawn(ctx, b, api.Spawn{Name: "other", MaySend: []string{"*"}})
	return
}

// failAll sends an event of each kind on which version 1 fails.
func (r *round) failAll(ctx context.Context, d, other api.Daemon) error {
	sends := []struct{ to, text string }{
		{"d", fmt.Sprintf("timer %d bad tick", 20+r.rng.IntN(200))}, {"other", "send " + d.EntityID + " bad word"},
	}
	for i, s := range sends {
		if err := r.settle(ctx, r.rng, r.book.enter(s.to, fmt.Sprintf("asks/%d", i+1), s.text)); err != nil {
			return err
		}
	}
	err := until(ctx, patience, "an event is published", func(ctx context.Context) error { return r.publish(ctx, "news", "bad news") })
	if err != nil {
		return err
	}
	if err := r.settle(ctx, r.rng, r.book.enter("d", "bad/1", "bad order")); code(err) != "guest-failed" {
		r.problem("event %q to version 1: want it to fail, got %v", "bad order", err)
	}
	return context.Cause(ctx)
}

// publish publishes texts on node a's channel; it asks that node first whether it has them.
func (r *round) publish(ctx context.Context, channel string, texts ...string) error {
	at, i := r.nodes[0].Client, 0
	return at.Channels().PublishAll(ctx, channel, client.AtNode{}, func() ([]byte, error) {
		if i == len(texts) {
			return nil, io.EOF
		}
		i++
		return []byte(texts[i-1]), nil
	}, func(api.Published) error { return nil })
}

// listed compares what every node says of the failed events.
func (r *round) listed(ctx context.Context, was []api.Quarantined) error {
	for _, n := range r.nodes {
		now, err := n.Client.Quarantine().List(ctx, "d")
		if err != nil {
			return err
		}
		if fmt.Sprintf("%+v", now) != fmt.Sprintf("%+v", was) {
			r.problem("the failed events after moves and deaths, as node %s says: want %+v, got %+v", n.Name, was, now)
			return nil
		}
	}
	return nil
}

// retryAll tries the events again, in some order: each comes to the guest as what it was.
func (r *round) retryAll(ctx context.Context, list []api.Quarantined, senders map[string]string) error {
	seen := make(map[string]bool)
	r.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, q := range list {
		seen[q.Kind] = true
		var lines []string
		err := until(ctx, patience, "event "+string(q.Payload)+" is tried again", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			sent, err := r.any(r.rng).Client.Quarantine().Retry(ctx, "d", q.Index)
			if code(err) == "not-quarantined" && len(lines) == 0 { // an attempt before this one did it
				return nil
			}
			if err == nil {
				lines, err = linesOf(sent)
			} else if !isPassing(err) && code(err) != "daemon-not-found" {
				r.problem("failed event %q tried again: want it applied, got %v", q.Payload, err)
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(lines) != 1 {
			continue
		}
		h, err := parseHeard(lines[0])
		if err != nil {
			return err
		}
		want := heard{version: 2, count: h.count, daemon: h.daemon, kind: q.Kind, sender: senders[q.Kind], channel: "-", time: q.Time.UnixNano(), text: string(q.Payload)}
		if q.Kind == "channel" {
			want.channel, want.sender = q.Channel, h.sender
			if q.Channel != "news" {
				r.problem("failed event %q: want channel news, got %q", q.Payload, q.Channel)
			}
		}
		if h != want {
			r.problem("failed event %q tried again: want %+v, got %+v", q.Payload, want, h)
		}
	}
	for _, k := range []string{"direct", "timer", "channel", "daemon"} {
		if !seen[k] {
			r.problem("want a failed event of kind %s, there are %v", k, texts(list))
		}
	}
	return nil
}
