// Package guesttest runs a guest outside any node, for those who write guests: what
// net/http/httptest is for handlers. A Runner makes daemons of a module and sends them
// events; Conformance says whether they keep the rules of a good guest, CrossCheck whether
// their hooks carry all of their state, and Vectors whether they give the answers that are
// written down. Nothing is signed, stored or sent.
package guesttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Runner makes daemons of one module outside any node, for those who write
// modules: nothing is signed, stored or sent. All daemons of a runner have the
// same identity, so that the same events at the same times give the same
// outputs. It is safe for concurrent use.
type Runner struct {
	engine *sandbox.Engine
	module *sandbox.Module
	limits daemon.Limits

	// Grants are what the runner's daemons may do; nil: everything. It is set before
	// the first is made.
	Grants *effect.Grants
}

// rules are those of a runner's daemons, whose effects go nowhere.
type rules struct{ *effect.Grants }

func (r rules) Publish(name string) int32 {
	_, outputs := channel.IsOutputs(name)
	switch {
	case outputs || identity.ValidChannel(name) != nil:
		return abi.EffectInvalid
	case r.Grants != nil && r.MayPublish(name) == nil:
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (r rules) Send(to [32]byte) int32 {
	if r.Grants != nil && !r.MaySend(to) {
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (rules) Cost(payload int) int { return effect.Cost(payload) }

func (rules) Room() abi.EffectRoom { return (&effect.State{}).Room() }

// self is who a runner's daemon is.
var self = identity.EntityID(sha256.Sum256([]byte("wasmhost: a daemon on trial")))

// NewRunner compiles the module. The caller closes the runner. One that is not accepted is an *abi.Refusal.
// Limits are those of a node where they are not set.
func NewRunner(ctx context.Context, wasm []byte, limits daemon.Limits) (*Runner, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if err := limits.FitOn(daemon.Limits{}); err != nil {
		return nil, err
	}

	t := &Runner{limits: limits.Over(daemon.DefaultLimits)}
	var err error
	if t.engine, err = sandbox.NewEngine(ctx, sandbox.Config{ModuleBytes: t.limits.ModuleBytes}); err != nil {
		return nil, err
	}
	if t.module, err = t.engine.Compile(ctx, wasm, uint32(t.limits.MemoryBytes>>16)); err != nil {
		return nil, errors.Join(err, t.engine.Close(ctx))
	}

	return t, nil
}

// Report returns what the module is. It is not to be changed.
func (t *Runner) Report() *abi.Report { return t.module.Report() }

// Limits returns what bounds the runner's daemons.
func (t *Runner) Limits() daemon.Limits { return t.limits }

// Close frees the module. Its daemons must be closed before.
func (t *Runner) Close(ctx context.Context) error {
	return errors.Join(t.module.Close(ctx), t.engine.Close(ctx))
}

// Daemon is a daemon of a Runner. Its methods must not be called
// concurrently.
type Daemon struct {
	runner  *Runner
	code    *guest.Daemon
	applied uint64
	last    int64           // when the last event was recorded
	effects []effect.Effect // of it
	timers  *effect.State   // and nothing else; nil: there are none
}

// Spawn makes a daemon and gives it the configuration, at a time in Unix
// nanoseconds. log gets its log lines; nil drops them.
func (t *Runner) Spawn(ctx context.Context, config []byte, at int64, log func(level int, text string)) (*Daemon, error) {
	d, err := t.empty(ctx, log)
	if err != nil {
		return nil, err
	}

	d.last = at
	if err := d.code.Init(d.call(), config); err != nil {
		return nil, errors.Join(fmt.Errorf("initialising a daemon: %w", err), d.Close())
	}
	return d, nil
}

func (t *Runner) empty(ctx context.Context, log func(level int, text string)) (*Daemon, error) {
	f := guest.NewFactory(t.module)
	code, err := f.New(ctx, daemon.Env{Entity: self, Limits: t.limits, Log: log, Rules: rules{t.Grants}})
	if err != nil {
		return nil, err
	}
	return &Daemon{runner: t, code: code.(*guest.Daemon)}, nil
}

// call is what hooks are told: where the daemon stands.
func (d *Daemon) call() *daemon.Call {
	return &daemon.Call{Self: self, Epoch: 1, Sequence: d.applied, Time: max(d.last, 1)}
}

// Send is Deliver of an anonymous event.
func (d *Daemon) Send(payload []byte, at int64) ([][]byte, error) {
	return d.Deliver(daemon.Event{Payload: payload}, at)
}

// Deliver has the daemon apply one event, recorded at a time in Unix nanoseconds,
// or at that of the event before where that is later. Its number does not count. The
// outputs are the caller's. An event that the daemon fails on is a *GuestError, and
// leaves no trace.
func (d *Daemon) Deliver(ev daemon.Event, at int64) ([][]byte, error) {
	if len(ev.Payload) > d.runner.limits.EventBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(ev.Payload), d.runner.limits.EventBytes)
	}

	at = max(at, d.last, 1)
	call := &daemon.Call{Self: self, Sender: ev.Sender, Epoch: 1, Sequence: d.applied + 1, Time: at, Channel: ev.Channel, Kind: ev.Kind}
	d.effects = nil
	out, err := d.code.Process(call, ev.Payload)
	if err != nil {
		return nil, err
	}

	if d.effects = call.Effects; len(d.effects) > 0 {
		s := d.timers
		if s == nil {
			s = &effect.State{}
		}
		s.Apply(1, d.applied+1, d.effects)
		d.timers = s.Resting()
	}

	d.applied++
	d.last = at
	outputs := make([][]byte, 0, len(out))
	for _, b := range out {
		outputs = append(outputs, bytes.Clone(b))
	}

	return outputs, nil
}

// Effects returns those of the last event; a timer's number is that of its place.
// They are the caller's.
func (d *Daemon) Effects() []effect.Effect { return d.effects }

// NextTimer returns the daemon's timer that is due first.
func (d *Daemon) NextTimer() (effect.Alarm, bool) {
	if d.timers == nil {
		return effect.Alarm{}, false
	}
	return d.timers.Next()
}

// Fire has the daemon apply its timer that is due first, at its time or that of the
// event before, as Deliver does. It does not fire again, whatever the daemon makes of
// it. No timer fires by itself.
func (d *Daemon) Fire() ([][]byte, error) {
	a, ok := d.NextTimer()
	if !ok {
		return nil, nil
	}
	d.timers.Fired(a.ID)
	return d.Deliver(daemon.Event{Sender: self, Kind: daemon.EventTimer, Payload: a.Payload}, a.At)
}

// Applied returns how many events the daemon has applied.
func (d *Daemon) Applied() uint64 { return d.applied }

// MemoryBytes returns the size of the daemon's memory.
func (d *Daemon) MemoryBytes() int64 { return d.code.MemoryBytes() }

// Fuel returns what the last call took.
func (d *Daemon) Fuel() uint64 { return d.code.Fuel() }

// Given returns what the daemon's hook gives: nil where the module has none.
func (d *Daemon) Given() ([]byte, error) { return d.code.Snapshot(d.call()) }

// byHooks makes another daemon of what d's hooks carry. Errors of the hooks are a
// *GuestError; a module without them is ErrNoHooks.
func (t *Runner) byHooks(ctx context.Context, d *Daemon, log func(level int, text string)) (*Daemon, error) {
	if t.Report().State != abi.StateHooks {
		return nil, ErrNoHooks
	}

	state, err := d.Given()
	if err != nil {
		return nil, err
	}

	fresh, err := t.empty(ctx, log)
	if err != nil {
		return nil, err
	}

	fresh.applied, fresh.last, fresh.timers = d.applied, d.last, d.timers
	if err := fresh.code.Restore(fresh.call(), state); err != nil {
		return nil, errors.Join(err, fresh.Close())
	}
	return fresh, nil
}

// Close frees the daemon.
func (d *Daemon) Close() error { return d.code.Close() }

// ErrOtherModule says that a saved daemon is of another module, and that its
// state cannot go over to this one.
var ErrOtherModule = errors.New("the saved daemon is of another module")

// ErrMalformed says that bytes are no saved daemon.
var ErrMalformed = errors.New("not a saved daemon")

// savedState is the canonical CBOR form of a saved daemon.
type savedState struct {
	_       struct{} `cbor:",toarray"`
	Form    string   // savedForm
	Module  []byte   // SHA-256
	Applied uint64
	Time    int64
	Hooks   bool   // the module has them
	Given   []byte // by its hook
	Failure string // of its hook, which gave nothing
	Memory  []byte // captured; empty for a stateless daemon
	Config  []byte // which a stateless one is made of anew
}

// savedTimers is a savedState of a daemon that has timers.
type savedTimers struct {
	_       struct{} `cbor:",toarray"`
	Form    string   // savedTimersForm
	Module  []byte
	Applied uint64
	Time    int64
	Hooks   bool
	Given   []byte
	Failure string
	Memory  []byte
	Config  []byte
	Timers  []byte // as package effect encodes them
}

const (
	savedForm       = "wasmhost trial 1"
	savedTimersForm = "wasmhost trial 2"
)

// Save returns all that the daemon is. config is what it was spawned with. A hook
// that fails keeps nothing from being saved: the daemon can then go on as the same
// module alone.
func (d *Daemon) Save(config []byte) ([]byte, error) {
	digest := d.runner.module.Digest()
	s := &savedState{Form: savedForm, Module: digest[:], Applied: d.applied, Time: d.last, Config: config}
	if !d.code.Stateless() {
		var memory bytes.Buffer
		err := d.code.SaveMemory(&memory)
		if err != nil {
			return nil, fmt.Errorf("saving a daemon: %w", err)
		}
		s.Memory = memory.Bytes()
	}

	if s.Hooks = d.code.Report().State == abi.StateHooks; s.Hooks {
		var err error
		var fault *daemon.GuestError
		if s.Given, err = d.Given(); errors.As(err, &fault) {
			s.Failure = fault.Error()
		} else if err != nil {
			return nil, fmt.Errorf("saving a daemon: %w", err)
		}
	}

	timers, err := d.timers.Encode()
	if err != nil || len(timers) == 0 {
		return marshalUnless(s, err)
	}

	return marshalUnless(&savedTimers{Form: savedTimersForm, Module: s.Module, Applied: s.Applied, Time: s.Time, Hooks: s.Hooks, Given: s.Given,
		Failure: s.Failure, Memory: s.Memory, Config: s.Config, Timers: timers}, nil)
}

func marshalUnless(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("saving a daemon: %w", err)
	}
	return canon.Marshal(v)
}

func readSaved(saved []byte) (*savedState, *effect.State, error) {
	var s savedState
	var timers *effect.State
	var err error

	if len(saved) > 0 && saved[0] == 0x8a { // an array of ten
		var t savedTimers
		if err = canon.Unmarshal(saved, &t); err == nil {
			timers, err = effect.Decode(t.Timers)
		}

		if err == nil && (timers == nil || t.Form != savedTimersForm) {
			err = fmt.Errorf("its form is %.40q, or it has no timers", t.Form)
		}

		s = savedState{Form: savedForm, Module: t.Module, Applied: t.Applied, Time: t.Time, Hooks: t.Hooks, Given: t.Given, Failure: t.Failure, Memory: t.Memory, Config: t.Config}
		timers = timers.Resting()
	} else {
		err = canon.Unmarshal(saved, &s)
	}

	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.Form != savedForm || len(s.Module) != 32 || s.Applied >= chain.CountLimit || s.Time < 0 {
		return nil, nil, fmt.Errorf("%w: its form is %.40q, this program reads %q", ErrMalformed, s.Form, savedForm)
	}

	return &s, timers, nil
}

// Resume makes the daemon that was saved. One of another version of the module
// goes over by the hooks of both, as in an upgrade; without them it is
// ErrOtherModule. A stateless one is spawned anew.
func (t *Runner) Resume(ctx context.Context, saved []byte, log func(level int, text string)) (*Daemon, error) {
	s, timers, err := readSaved(saved)
	if err != nil {
		return nil, err
	}

	d, err := t.empty(ctx, log)
	if err != nil {
		return nil, err
	}

	d.applied, d.last, d.timers = s.Applied, s.Time, timers
	digest, state := t.module.Digest(), t.module.Report().State
	switch {
	case state == abi.StateStateless && len(s.Memory) == 0:
		err = d.code.Init(d.call(), s.Config)
	case bytes.Equal(s.Module, digest[:]):
		err = d.code.LoadMemory(bytes.NewReader(s.Memory))
	case s.Failure != "":
		err = fmt.Errorf("%w: it is of module %x, this is %x, and its hook failed when it was saved: %s", ErrOtherModule, s.Module[:6], digest[:6], s.Failure)
	case s.Hooks && state == abi.StateHooks:
		err = d.code.Restore(d.call(), s.Given)
	default:
		err = fmt.Errorf("%w: it is of module %x, this is %x, and they do not both have hooks (wasmhost_snapshot, wasmhost_restore)", ErrOtherModule, s.Module[:6], digest[:6])
	}

	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}
