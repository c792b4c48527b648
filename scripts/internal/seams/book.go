package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// event is one that is sent, and what its sender has heard of it.
type event struct {
	to, id  string // no id: it is sent once
	text    string
	answers []string // that differ
	doubt   bool     // an attempt ended without an answer, or with one that promises nothing
	refused []string // names of the errors that refused it for good
}

// book has all events of a round, and where they were applied. It is safe for concurrent use.
type book struct {
	*totals
	allow []string // errors that may refuse an event; nil: all that have a name

	mu      sync.Mutex
	order   []*event
	texts   map[string]*event
	places  map[string][]string // by text: lines of chains
	renewed map[string]bool     // daemons, by entity id, that lost what they had, as somebody asked
	team    map[string]bool     // daemons, by entity id, that are or were members of the group that there is
	buried  map[string]bool     // daemons of a group that was removed: what they applied, another of its name may apply
}

func newBook(t *totals) *book {
	return &book{totals: t, texts: make(map[string]*event), places: make(map[string][]string), renewed: make(map[string]bool), buried: make(map[string]bool), team: make(map[string]bool)}
}

// enter notes an event that is about to be sent.
func (b *book) enter(to, id, text string) *event {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &event{to: to, id: id, text: text}
	b.order = append(b.order, e)
	b.texts[text] = e
	b.add(&b.ids, 1)
	return e
}

func (b *book) all() []*event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.order)
}

// acknowledged is how many events are.
func (b *book) acknowledged() (n int) {
	for _, e := range b.all() {
		b.mu.Lock()
		if len(e.answers) > 0 {
			n++
		}
		b.mu.Unlock()
	}
	return n
}

// passing are errors after which the same event may be sent again.
var passing = []string{"unreachable", "timeout", "moved", "not-ready", "coming", "holding", "shutting-down", "mailbox-full", "outcome-unknown",
	"already-migrating", "bodies-full", "bytes-full", "too-many-open", "residence-unproven", "waiting", "no-healthy-member", "channel-not-ready", "held", "member-away", "directory-late", "directory-unreachable", "directory-busy"}

// isPassing reports whether the error may pass by itself.
func isPassing(err error) bool {
	var p *api.Problem
	return !errors.As(err, &p) || p.Retriable || slices.Contains(passing, p.Code)
}

// try sends the event once, and reports whether it is settled: acknowledged, or refused
// for good.
func (r *round) try(ctx context.Context, n *fleet.Node, e *event) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sent, err := n.Client.Send(ctx, e.to, e.id, []byte(e.text))
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	name := code(err)
	switch {
	case err == nil:
		lines, err := linesOf(sent)
		if err != nil || len(lines) != 1 {
			r.problem("event %q to %s: want one line in answer, got %q, %v", e.text, e.to, lines, err)
			return true, nil
		}
		if !slices.Contains(e.answers, lines[0]) {
			e.answers = append(e.answers, lines[0])
		}
		return true, nil
	case name == "internal" || name == "daemon-not-found" && e.to[:6] == "group/":
		r.problem("event %q to %s, at node %s: want it applied, or refused by name; got %s: %v", e.text, e.to, n.Name, name, err)
		e.doubt = true
		return e.id == "", err
	case isPassing(err), name == "daemon-not-found", name == "group-not-found":
		e.doubt = true
		return e.id == "", err
	}
	b.refused(name)
	e.refused = append(e.refused, name)
	e.doubt = e.doubt || name == "guest-failed" // it waits, and may be tried again
	if b.allow != nil && !slices.Contains(b.allow, name) {
		r.problem("event %q to %s, at node %s: want it applied, got %s: %v", e.text, e.to, n.Name, name, err)
	}
	return true, err
}

func linesOf(sent api.Sent) (out []string, err error) {
	for _, o := range sent.Outputs {
		line, err := base64.StdEncoding.DecodeString(o.Payload)
		if err != nil {
			return nil, err
		}
		out = append(out, string(line))
	}
	return out, nil
}

// settle sends the event, to whatever node, until it is settled.
func (r *round) settle(ctx context.Context, rng *rand.Rand, e *event) error {
	var last error
	err := until(ctx, patience, fmt.Sprintf("event %q to %s is settled", e.text, e.to), func(ctx context.Context) error {
		settled, err := r.try(ctx, r.any(rng), e)
		if settled {
			last = err
			return nil
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.problem("%v", err)
		return nil
	}
	if err == nil {
		return last
	}
	return err
}

// style is how a sender names its events.
type style int

const (
	numbered  style = iota // one sender, numbers that grow
	alone                  // each its own sender
	anonymous              // no ids: each is sent once
)

// crew is senders that send until they are told to stop.
type crew struct {
	r     *round
	stop  chan struct{}
	once  sync.Once
	ended sync.WaitGroup
}

// senders begins to send to the daemon or group, each in its style; one more repeats what
// was sent.
func (r *round) senders(ctx context.Context, to string, styles ...style) *crew {
	c := &crew{r: r, stop: make(chan struct{})}
	for i, s := range styles {
		rng, name := r.chance(), fmt.Sprintf("%s-%d", choice(r.rng, "ann", "ben", "cy"), i)
		c.ended.Go(func() { c.send(ctx, to, name, s, rng) })
	}
	rng := r.chance()
	c.ended.Go(func() { c.repeat(ctx, rng) })
	return c
}

func (c *crew) over(ctx context.Context) bool {
	select {
	case <-c.stop:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func (c *crew) send(ctx context.Context, to, name string, s style, rng *rand.Rand) {
	for n := 1; !c.over(ctx); n++ {
		text := fmt.Sprintf("%s/%d", name, n)
		id := text
		switch s {
		case alone:
			id = fmt.Sprintf("%s.%d", name, n)
		case anonymous:
			id = ""
		}
		_ = c.r.settle(ctx, rng, c.r.book.enter(to, id, text)) // the book has it
		fleet.Pause(ctx, time.Duration(1+rng.IntN(10))*time.Millisecond)
	}
}

func (c *crew) repeat(ctx context.Context, rng *rand.Rand) {
	for !c.over(ctx) {
		if all := c.r.book.all(); len(all) > 0 {
			if e := all[rng.IntN(len(all))]; e.id != "" {
				c.r.add(&c.r.repeats, 1)
				_, _ = c.r.try(ctx, c.r.any(rng), e) // the book has it
			}
		}
		fleet.Pause(ctx, time.Duration(1+rng.IntN(10))*time.Millisecond)
	}
}

// more waits until so many more events are acknowledged.
func (c *crew) more(ctx context.Context, events int) error {
	want := c.r.book.acknowledged() + events
	return until(ctx, patience, fmt.Sprintf("%d more events are acknowledged", events), func(context.Context) error {
		if got := c.r.book.acknowledged(); got < want {
			return fmt.Errorf("%d are, not %d", got, want)
		}
		return nil
	})
}

// done has the senders end, when what they have sent is settled. It may be called again.
func (c *crew) done() {
	c.once.Do(func() { close(c.stop) })
	c.ended.Wait()
}

// repeatAll sends every event that has an id once more, each to some node.
func (r *round) repeatAll(ctx context.Context) {
	todo := make(chan *event)
	var wg sync.WaitGroup
	for range 4 {
		rng := r.chance()
		wg.Go(func() {
			for e := range todo {
				r.add(&r.repeats, 1)
				_ = r.settle(ctx, rng, e) // the book has it
			}
		})
	}
	for _, e := range r.book.all() {
		if e.id != "" && ctx.Err() == nil {
			todo <- e
		}
	}
	close(todo)
	wg.Wait()
}
