package guesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
)

// Verdicts of a rule.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped" // the rule does not apply, or there was nothing to try it on
)

// RuleVerdict is what a conformance run says of one rule.
type RuleVerdict struct {
	Rule    string `json:"rule"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`         // what was seen
	Mend    string `json:"mend,omitempty"` // of a failed one: what to do
}

// Conformance sends a module's daemons events of every sort and says of each
// rule of a good guest whether they keep it.
type Conformance struct {
	Runner *Runner
	Config []byte
	Events [][]byte // that mean something to the module; without any, only texts that may mean nothing to it are sent
	Many   int      // events of the rule "many"; 0: 10,000
}

// Rules are the rules of a conformance run, in order.
var Rules = []string{"init", "empty", "binary", "large", "many", "failing", "capture", "hooks", "determinism"}

// startTime is when the first event of a run is recorded; each is a
// millisecond after the one before. 2027-01-15T08:00:00Z.
const (
	startTime = 1_800_000_000_000_000_000
	tick      = 1_000_000
)

// texts are what every module is sent.
var texts = []string{"a", "hello world", "1", "-1", "18446744073709551616", "{}", `{"text":"x"}`, "a b c\nd e f", "", "\u00e4\u20ac\U0001F600"}

// Run calls verdict for each rule, in order.
func (c *Conformance) Run(ctx context.Context, verdict func(RuleVerdict) error) error {
	if c.Many == 0 {
		c.Many = 10_000
	}

	run := map[string]func(context.Context) (RuleVerdict, error){
		"init": c.initialises, "empty": c.empty, "binary": c.binary, "large": c.large, "many": c.many,
		"failing": c.failing, "capture": c.capture, "hooks": c.hooks, "determinism": c.determinism,
	}

	for k, rule := range Rules {
		v, err := run[rule](ctx)
		if err != nil {
			return fmt.Errorf("rule %q: %w", rule, err)
		}

		v.Rule = rule
		if err := verdict(v); err != nil {
			return err
		}
		if k == 0 && v.Verdict == Failed {
			break // there is no daemon to send anything to
		}
	}

	return ctx.Err()
}

func (c *Conformance) events() [][]byte {
	if len(c.Events) > 0 {
		return c.Events
	}
	var out [][]byte
	for _, t := range texts {
		out = append(out, []byte(t))
	}
	return out
}

func (c *Conformance) spawn(ctx context.Context) (*Daemon, error) {
	return c.Runner.Spawn(ctx, c.Config, startTime, nil)
}

// with spawns a daemon for f.
func (c *Conformance) with(ctx context.Context, f func(*Daemon) (RuleVerdict, error)) (v RuleVerdict, err error) {
	d, err := c.spawn(ctx)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return f(d)
}

func conformAt(n int) int64 { return startTime + int64(n+1)*tick }

func passed(format string, args ...any) RuleVerdict {
	return RuleVerdict{Verdict: Passed, Detail: fmt.Sprintf(format, args...)}
}

func failed(mend, format string, args ...any) RuleVerdict {
	return RuleVerdict{Verdict: Failed, Mend: mend, Detail: fmt.Sprintf(format, args...)}
}

// tried is what became of one event, for people.
func tried(out [][]byte, err error) string {
	var fault *daemon.GuestError
	switch {
	case errors.As(err, &fault):
		return fmt.Sprintf("refused with code %d, %.100q", fault.Code, fault.Text)
	case len(out) == 1:
		return "answered with 1 output"
	}
	return fmt.Sprintf("answered with %d outputs", len(out))
}

// misbehaved returns what a guest did wrong in failing, nil where it returned a
// code. An error that is no guest's is returned.
func misbehaved(what string, err error) (*RuleVerdict, error) {
	var fault *daemon.GuestError
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &fault):
		return nil, err
	case fault.Kind == abi.FaultError:
		return nil, nil
	}

	v := failed("check the event before you use it, and return an error code with a text (fail) where it is not one for the daemon", "%s ends in a fault: %v", what, fault)
	switch {
	case fault.Kind == abi.FaultLimit:
		v.Mend = "do less for one event, or give the kind a larger limit: wasmhost kind push --limit " + fault.Limit + "=N"
	case fault.Kind == abi.FaultAnswer:
		v.Mend = "mend how the guest follows the contract: abi/SPEC.md, \"The input buffer\""
	case fault.Kind == abi.FaultTrap && (fault.Text == "" || strings.HasPrefix(fault.Text, "unreachable")):
		v.Mend += "; and let panics call fail with their text, as the SDKs do: whoever sent the event learns nothing otherwise"
	}

	return &v, nil
}

func (c *Conformance) initialises(ctx context.Context) (RuleVerdict, error) {
	v := passed("a daemon is made of %d bytes of configuration", len(c.Config))
	_, err := c.with(ctx, func(*Daemon) (RuleVerdict, error) { return v, nil })
	var fault *daemon.GuestError
	if errors.As(err, &fault) {
		return failed("give --config what the module takes; check what it says of an empty one", "initialising fails: %v", fault), nil
	}
	return v, err
}

// one sends one event, and then one more, which the first must not have kept
// from being answered.
func (c *Conformance) one(ctx context.Context, what string, payload []byte) (RuleVerdict, error) {
	return c.with(ctx, func(d *Daemon) (RuleVerdict, error) {
		out, err := d.Send(payload, conformAt(0))
		bad, err2 := misbehaved(what, err)
		if err2 != nil || bad != nil {
			return deref(bad), err2
		}

		v := passed("%s is %s", what, tried(out, err))
		_, err = d.Send(c.events()[0], conformAt(1))
		if bad, err2 = misbehaved("the event after "+what, err); err2 != nil || bad != nil {
			return deref(bad), err2
		}
		return v, nil
	})
}

func deref(v *RuleVerdict) RuleVerdict {
	if v == nil {
		return RuleVerdict{}
	}
	return *v
}

func (c *Conformance) empty(ctx context.Context) (RuleVerdict, error) {
	return c.one(ctx, "an empty event", nil)
}

func (c *Conformance) binary(ctx context.Context) (RuleVerdict, error) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}

	for what, payload := range map[string][]byte{"an event that is no UTF-8": {0xff, 0xfe, 0xc0, 0x80}, "one of NUL bytes": make([]byte, 64)} {
		if v, err := c.one(ctx, what, payload); err != nil || v.Verdict != Passed {
			return v, err
		}
	}
	return c.one(ctx, "an event of every byte value", all)
}

func (c *Conformance) large(ctx context.Context) (RuleVerdict, error) {
	return c.one(ctx, fmt.Sprintf("an event of %d bytes", c.Runner.limits.EventBytes), bytes.Repeat([]byte("wasm "), c.Runner.limits.EventBytes/5+1)[:c.Runner.limits.EventBytes])
}

func (c *Conformance) many(ctx context.Context) (RuleVerdict, error) {
	return c.with(ctx, func(d *Daemon) (RuleVerdict, error) {
		events := c.events()
		half := int64(0)
		for n := range c.Many {
			if n%1000 == 0 && ctx.Err() != nil {
				return RuleVerdict{}, ctx.Err()
			}

			_, err := d.Send(events[n%len(events)], conformAt(n))
			if bad, err := misbehaved(fmt.Sprintf("event %d of many", n+1), err); err != nil || bad != nil {
				return deref(bad), err
			}
			if n == c.Many/2 {
				half = d.MemoryBytes()
			}
		}

		v := passed("%d events; memory %d KiB, at half of them %d KiB", c.Many, d.MemoryBytes()>>10, half>>10)
		if d.MemoryBytes() > half {
			v.Detail += ": it still grows; see to it that it ends"
		}
		return v, nil
	})
}

// failing looks for events that are refused, and compares what a daemon that
// was sent them answers afterwards with one that was not.
func (c *Conformance) failing(ctx context.Context) (RuleVerdict, error) {
	return c.with(ctx, func(d *Daemon) (RuleVerdict, error) {
		return c.with(ctx, func(other *Daemon) (RuleVerdict, error) {
			refused := 0
			for n, payload := range c.events() {
				at := conformAt(n)
				out, err := d.Send(payload, at)
				if bad, err := misbehaved(fmt.Sprintf("event %d", n+1), err); err != nil || bad != nil {
					return deref(bad), err
				}
				if err != nil {
					refused++
					continue
				}

				want, err := other.Send(payload, at)
				if err != nil || !slices.EqualFunc(out, want, bytes.Equal) {
					return failed("this is a fault of the host: report it", "after %d refused events the daemon answers otherwise than without them", refused), nil
				}
			}

			if refused == 0 {
				return RuleVerdict{Verdict: Skipped, Detail: "no event was refused; put one that is among --events"}, nil
			}
			return passed("%d events were refused, and left no trace", refused), nil
		})
	})
}

// answers sends all events, with next making the daemon that takes the next one.
func (c *Conformance) answers(ctx context.Context, next func(d *Daemon) (*Daemon, error)) (answers []Answer, saved []byte, err error) {
	d, err := c.spawn(ctx)
	if err != nil {
		return nil, nil, err
	}

	defer func() { err = errors.Join(err, d.Close()) }()
	for n, payload := range c.events() {
		if next != nil {
			other, err := next(d)
			if err != nil {
				return nil, nil, err
			}

			err = d.Close()
			if d = other; err != nil {
				return nil, nil, err
			}
		}

		out, err := d.Send(payload, conformAt(n))
		a := Answer{Outputs: out}
		var fault *daemon.GuestError
		if errors.As(err, &fault) {
			a.Failure = fault.Error()
		} else if err != nil {
			return nil, nil, err
		}

		answers = append(answers, a)
	}

	saved, err = d.Save(c.Config)
	return answers, saved, err
}

// differs returns the first event, counted from 1, that was answered otherwise;
// 0: none.
func differs(a, b []Answer) int {
	for n := range a {
		if !a[n].equal(&b[n]) {
			return n + 1
		}
	}
	return 0
}

func (c *Conformance) capture(ctx context.Context) (RuleVerdict, error) {
	want, _, err := c.answers(ctx, nil)
	if err != nil {
		return RuleVerdict{}, err
	}

	got, _, err := c.answers(ctx, func(d *Daemon) (*Daemon, error) {
		saved, err := d.Save(c.Config)
		if err != nil {
			return nil, err
		}
		return c.Runner.Resume(ctx, saved, nil)
	})
	if err != nil {
		return RuleVerdict{}, err
	}

	if n := differs(want, got); n > 0 {
		if c.Runner.Report().State == abi.StateStateless {
			return failed("do not export wasmhost_stateless: the daemon keeps something", "event %d is answered otherwise by a daemon that is made anew before it: %s, not %s", n, answerShort(got[n-1]), answerShort(want[n-1])), nil
		}
		return failed("this is a fault of the host: report it with the module", "event %d is answered otherwise after a capture: %s, not %s", n, answerShort(got[n-1]), answerShort(want[n-1])), nil
	}

	return passed("captured and restored before each of %d events: the same answers", len(want)), nil
}

func answerShort(a Answer) string {
	if a.Failure != "" {
		return fmt.Sprintf("%.100s", a.Failure)
	}
	return fmt.Sprintf("%.100q", a.Outputs)
}

func (c *Conformance) hooks(ctx context.Context) (RuleVerdict, error) {
	if c.Runner.Report().State != abi.StateHooks {
		return RuleVerdict{Verdict: Skipped, Detail: "the module has none: its memory is its state, and stays with this version of the code"}, nil
	}

	want, _, err := c.answers(ctx, nil)
	if err != nil {
		return RuleVerdict{}, err
	}

	got, _, err := c.answers(ctx, func(d *Daemon) (*Daemon, error) { return c.Runner.byHooks(ctx, d, nil) })
	var fault *daemon.GuestError
	if errors.As(err, &fault) {
		return failed("make "+fault.Call+" take every state that the daemon can be in", "%s fails: %v", fault.Call, fault), nil
	}
	if err != nil {
		return RuleVerdict{}, err
	}
	if n := differs(want, got); n > 0 {
		return failed("put all that decides later answers into what wasmhost_snapshot returns; find where it is lost with --cross-check", "event %d is answered otherwise after the hooks: %s, not %s", n, answerShort(got[n-1]), answerShort(want[n-1])), nil
	}

	return passed("carried over by the hooks before each of %d events: the same answers", len(want)), nil
}

func (c *Conformance) determinism(ctx context.Context) (RuleVerdict, error) {
	a, savedA, err := c.answers(ctx, nil)
	if err != nil {
		return RuleVerdict{}, err
	}

	b, savedB, err := c.answers(ctx, nil)
	if err != nil {
		return RuleVerdict{}, err
	}
	if n := differs(a, b); n > 0 {
		return failed("do not let NaN bits reach an output; report it if there are none: nothing else may differ", "event %d is answered in two ways: %s and %s", n, answerShort(a[n-1]), answerShort(b[n-1])), nil
	}
	if !bytes.Equal(savedA, savedB) {
		return failed("do not keep NaN bits in memory; report it if there are none: nothing else may differ", "two daemons that were sent the same events differ in their memory"), nil
	}

	return passed("two daemons that were sent the same %d events are equal to the byte", len(a)), nil
}
