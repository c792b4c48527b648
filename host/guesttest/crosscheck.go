package guesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/sandbox"
)

// CrossCheck compares the two ways of restoring a guest that has hooks. It
// sends events to a guest of the module; before the first and after each it
// makes two others of what that one is, one by captured memory and one through
// wasmhost_snapshot and wasmhost_restore, and sends the events that follow to
// all three. Hooks that carry all of the state give the same answers.
type CrossCheck struct {
	Wasm   []byte
	Config []byte        // for wasmhost_init
	Limits daemon.Limits // where set
	Next   int           // to how many events after a restore answers are compared: 1 to MaxCrossCheck
}

// MaxCrossCheck bounds CrossCheck.Next: so many pairs of guests live at a time.
const MaxCrossCheck = 1000

// ErrNoHooks says that a module has no hooks that could be compared.
var ErrNoHooks = errors.New("the module exports no wasmhost_snapshot and wasmhost_restore")

// Answer is what a guest made of an event: outputs, or a failure.
type Answer struct {
	Outputs [][]byte
	Failure string // empty: it did not fail
}

func (a *Answer) equal(b *Answer) bool {
	return a.Failure == b.Failure && slices.EqualFunc(a.Outputs, b.Outputs, bytes.Equal)
}

// Verdict is of one restore.
type Verdict struct {
	After    int // events that the guest had been sent
	Compared int // events that followed, and were answered alike

	// Differs is the event, counted from 1, that the two answered otherwise; 0:
	// none.
	Differs       int
	Memory, Hooks Answer // to that event: of the guest restored by captured memory, and of the other

	Failure error // of a hook: there was nothing to compare
}

// Same reports whether no difference was found.
func (v *Verdict) Same() bool { return v.Differs == 0 && v.Failure == nil }

// Run takes events from next until io.EOF, and calls verdict for each restore,
// in order; one that no event follows has none unless a hook failed. A module
// that is not accepted is an *abi.Refusal, one without hooks ErrNoHooks.
func (c *CrossCheck) Run(ctx context.Context, next func() ([]byte, error), verdict func(Verdict) error) (err error) {
	if c.Next < 1 || c.Next > MaxCrossCheck {
		return fmt.Errorf("comparing %d events after each restore: it must be between 1 and %d", c.Next, MaxCrossCheck)
	}
	if err := c.Limits.Validate(); err != nil {
		return err
	}

	limits := c.Limits.Over(daemon.DefaultLimits)
	engine, err := sandbox.NewEngine(ctx, sandbox.Config{ModuleBytes: limits.ModuleBytes})
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, engine.Close(ctx)) }()
	module, err := engine.Compile(ctx, c.Wasm, uint32(limits.MemoryBytes>>16))
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, module.Close(ctx)) }()
	if module.Report().State != abi.StateHooks {
		return ErrNoHooks
	}

	x := &crossing{module: module, options: sandbox.Options{Limits: guest.SandboxLimits(limits)}, next: c.Next, verdict: verdict}
	defer func() { err = errors.Join(err, x.close()) }()
	if x.original, err = module.NewGuest(x.options); err != nil {
		return err
	}
	if err := x.original.Init(&sandbox.Event{Time: crossTime}, c.Config); err != nil {
		return fmt.Errorf("initialising a guest: %w", err)
	}

	for ctx.Err() == nil {
		if err := x.part(); err != nil {
			return err
		}

		payload, err := next()
		if errors.Is(err, io.EOF) {
			return x.report(true)
		}
		if err != nil {
			return err
		}
		if err := x.event(payload); err != nil {
			return err
		}
	}

	return context.Cause(ctx)
}

// crossTime is when the first event of a cross-check is recorded; each is a
// millisecond after the one before. 2027-01-15T08:00:00Z.
const crossTime = 1_800_000_000_000_000_000

// crossing is a cross-check in progress.
type crossing struct {
	module   *sandbox.Module
	options  sandbox.Options
	next     int
	verdict  func(Verdict) error
	original *sandbox.Guest
	sent     int // events
	applied  uint64
	pairs    []*pair // oldest first
}

// pair is two guests that were made of one state, with what is found so far.
type pair struct {
	Verdict
	memory, hooks *sandbox.Guest // nil when no more is compared
}

func (p *pair) close() error {
	var err error
	for _, g := range []*sandbox.Guest{p.memory, p.hooks} {
		if g != nil {
			err = errors.Join(err, g.Close())
		}
	}
	p.memory, p.hooks = nil, nil
	return err
}

func (x *crossing) close() error {
	var err error
	for _, p := range x.pairs {
		err = errors.Join(err, p.close())
	}
	if x.original != nil {
		err = errors.Join(err, x.original.Close())
	}
	return err
}

// hookEvent is what hooks are told: the time and sequence of the last event.
func (x *crossing) hookEvent() *sandbox.Event {
	return &sandbox.Event{Epoch: 1, Sequence: x.applied, Time: crossTime + int64(x.sent)*1_000_000}
}

// part makes a pair of what the guest is now.
func (x *crossing) part() error {
	p := &pair{Verdict: Verdict{After: x.sent}}
	x.pairs = append(x.pairs, p)
	state, err := x.original.Save()
	if err != nil {
		return err
	}

	given, err := x.original.Snapshot(x.hookEvent())
	if err != nil {
		return p.failed("taking a snapshot", err)
	}
	if p.memory, err = x.module.NewGuest(x.options); err != nil {
		return err
	}
	if err := p.memory.Load(state); err != nil {
		return fmt.Errorf("restoring captured memory: %w", err)
	}
	if p.hooks, err = x.module.NewGuest(x.options); err != nil {
		return err
	}
	if err := p.hooks.Restore(x.hookEvent(), given); err != nil {
		return p.failed(fmt.Sprintf("restoring %d bytes", len(given)), err)
	}

	return nil
}

// failed notes what a hook did; an error that is not the guest's is returned.
func (p *pair) failed(what string, err error) error {
	var fault *daemon.GuestError
	if !errors.As(err, &fault) {
		return err
	}
	p.Failure = fmt.Errorf("%s: %w", what, err)
	return p.close()
}

// event sends one event to all.
func (x *crossing) event(payload []byte) error {
	x.sent++
	ev := &sandbox.Event{Epoch: 1, Sequence: x.applied + 1, Time: crossTime + int64(x.sent)*1_000_000}
	want, err := answer(x.original, ev, payload)
	if err != nil {
		return err
	}

	if want.Failure == "" {
		x.applied++
	}

	for _, p := range x.pairs {
		if p.memory == nil {
			continue
		}

		memory, err := answer(p.memory, ev, payload)
		if err != nil {
			return err
		}
		if !memory.equal(&want) {
			return fmt.Errorf("event %d: a guest of the memory captured after event %d answers %+v, the guest that it was captured of %+v: this is a fault of the host", x.sent, p.After, memory, want)
		}

		hooks, err := answer(p.hooks, ev, payload)
		if err != nil {
			return err
		}
		if hooks.equal(&memory) {
			p.Compared++
		} else {
			p.Differs, p.Memory, p.Hooks = x.sent, memory, hooks
		}

		if p.Differs != 0 || p.Compared == x.next {
			if err := p.close(); err != nil {
				return err
			}
		}
	}

	return x.report(false)
}

// answer returns a copy of what the guest made of the event. An error is not
// the guest's.
func answer(g *sandbox.Guest, ev *sandbox.Event, payload []byte) (Answer, error) {
	out, err := g.Process(ev, payload)
	var a Answer
	var fault *daemon.GuestError

	switch {
	case errors.As(err, &fault):
		a.Failure = fault.Error()
	case err != nil:
		return a, err
	}

	for _, b := range out {
		a.Outputs = append(a.Outputs, bytes.Clone(b))
	}
	return a, nil
}

// report tells of the oldest pairs of which all is known; of the others too
// where no event follows.
func (x *crossing) report(end bool) error {
	for len(x.pairs) > 0 {
		p := x.pairs[0]
		if p.memory != nil && !end {
			return nil
		}

		x.pairs = x.pairs[1:]
		if err := p.close(); err != nil {
			return err
		}
		if p.Compared == 0 && p.Same() {
			continue
		}
		if err := x.verdict(p.Verdict); err != nil {
			return err
		}
	}
	return nil
}
