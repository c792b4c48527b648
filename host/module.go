package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"wasmhost/abi"
	"wasmhost/host/internal/sandbox"
	"wasmhost/identity"
)

func faultKind(s string) abi.FaultKind { return abi.FaultKind(s) }

// moduleFactory makes daemons of one compiled module. It is the main Factory:
// a daemon's code is an instantiation of the module.
type moduleFactory struct {
	module *sandbox.Module
}

// New instantiates the module.
func (f *moduleFactory) New(ctx context.Context, env Env) (Daemon, error) {
	inst, err := f.module.Instantiate(ctx, sandbox.Options{
		Name:   env.Entity.Origin().String(),
		Limits: sandboxLimits(env.Limits),
		Log:    env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("instantiating module %x: %w", f.module.Digest(), err)
	}
	return &moduleDaemon{report: f.module.Report(), inst: inst}, nil
}

func sandboxLimits(l Limits) sandbox.Limits {
	s := sandbox.DefaultLimits()
	s.MemoryPages = uint32(l.MemoryBytes / (64 << 10))
	s.Fuel = uint64(l.Fuel)
	s.Wall = l.Wall
	s.OutputBytes = l.OutputBytes
	s.OutputCount = l.OutputCount
	s.LogBytes = l.LogBytes
	return s
}

// Undo bounds: after so many events, or so many bytes of them, the daemon's
// memory is captured anew, so that undoing a failed event replays no more.
const (
	undoEvents = 1024
	undoBytes  = 1 << 20
)

// moduleDaemon is a Daemon whose code is Wasm. A failed event is undone: the
// instance goes back to the last capture and replays the events since, which
// succeeded before and are deterministic.
type moduleDaemon struct {
	report *abi.Report
	inst   *sandbox.Instance
	ev     sandbox.Event // reused from call to call

	captured bool
	undo     sandbox.Checkpoint
	since    []sinceEvent // applied since undo was captured
	payloads []byte       // theirs, one after the other
}

type sinceEvent struct {
	call Call
	end  int // of its payload in payloads; it starts where the one before ends
}

// errBroken says that a module daemon could not be put back after a failure.
var errBroken = errors.New("the daemon could not be put back as it was before the failed event")

// Name returns the module's digest.
func (d *moduleDaemon) Name() string { return d.report.Digest }

// Requirements returns none beyond what the limits bound.
func (d *moduleDaemon) Requirements() Requirements { return Requirements{} }

// Stateless reports whether the module declares that it keeps nothing.
func (d *moduleDaemon) Stateless() bool { return d.report.State == abi.StateStateless }

// Portable reports whether the state can be captured.
func (d *moduleDaemon) Portable() bool { return d.report.State != abi.StateOpaque }

// MemoryBytes returns the size of the linear memory.
func (d *moduleDaemon) MemoryBytes() int64 { return int64(d.inst.MemoryBytes()) }

// Close frees the instance.
func (d *moduleDaemon) Close() error { return d.inst.Close(context.Background()) }

// Init passes the configuration to the guest.
func (d *moduleDaemon) Init(c *Call, config []byte) error {
	return d.inst.Init(d.event(c), config)
}

// Process applies one event, or leaves no trace of it.
func (d *moduleDaemon) Process(c *Call, payload []byte) ([][]byte, error) {
	if !d.captured {
		d.capture()
	}
	outputs, err := d.inst.Process(d.event(c), payload)
	if err != nil {
		if undoErr := d.rollBack(); undoErr != nil {
			return nil, fmt.Errorf("%w: %w; the failure was: %w", errBroken, undoErr, err)
		}
		return nil, err
	}
	if d.Stateless() {
		return outputs, nil
	}
	d.payloads = append(d.payloads, payload...)
	d.since = append(d.since, sinceEvent{call: *c, end: len(d.payloads)})
	if len(d.since) >= undoEvents || len(d.payloads) >= undoBytes {
		d.capture()
	}
	return outputs, nil
}

// Snapshot returns what the guest's hook gives: nil when it is stateless.
func (d *moduleDaemon) Snapshot(c *Call) ([]byte, error) {
	switch {
	case d.Stateless():
		return nil, nil
	case !d.Portable():
		return nil, ErrNotPortable
	}
	if !d.captured {
		d.capture()
	}
	state, err := d.inst.Snapshot(d.event(c))
	if err != nil {
		if undoErr := d.rollBack(); undoErr != nil {
			return nil, fmt.Errorf("%w: %w; the failure was: %w", errBroken, undoErr, err)
		}
		return nil, fmt.Errorf("taking a snapshot: %w", err)
	}
	return state, nil
}

// Restore gives state to the guest's hook.
func (d *moduleDaemon) Restore(c *Call, state []byte) error {
	if d.report.State != abi.StateHooks {
		if len(state) != 0 {
			return fmt.Errorf("%w: %d bytes for module %s", ErrStatelessState, len(state), d.report.Digest)
		}
		return nil
	}
	if err := d.inst.Restore(d.event(c), state); err != nil {
		return fmt.Errorf("restoring %d bytes of state: %w", len(state), err)
	}
	d.captured = false
	return nil
}

func (d *moduleDaemon) capture() {
	d.inst.Capture(&d.undo)
	d.captured = true
	d.since, d.payloads = d.since[:0], d.payloads[:0]
}

// rollBack puts the instance back to where it stood before the failed call.
// What it stands at is the new capture, so that a stream of failures replays
// nothing.
func (d *moduleDaemon) rollBack() error {
	if err := d.inst.Reset(&d.undo); err != nil {
		return err
	}
	start := 0
	for i := range d.since {
		s := &d.since[i]
		if _, err := d.inst.Process(d.event(&s.call), d.payloads[start:s.end]); err != nil {
			return fmt.Errorf("replaying event %d: %w", s.call.Sequence, err)
		}
		start = s.end
	}
	if len(d.since) > 0 {
		d.capture()
	}
	return nil
}

// event fills the reused event from c. Its random stream is seeded from
// identity, epoch and sequence, so that a replay draws the same; it is
// not secret.
func (d *moduleDaemon) event(c *Call) *sandbox.Event {
	e := &d.ev
	if c.Sender != identity.EntityID(e.Sender) {
		e.Sender, e.Origin = c.Sender, 0
		if !c.Sender.IsZero() {
			e.Origin = uint64(c.Sender.Origin())
		}
	}
	e.Self = c.Self
	e.Sequence, e.Time, e.Channel = c.Sequence, c.Time, c.Channel
	e.Seed = c.Self
	binary.LittleEndian.PutUint64(e.Seed[8:], binary.LittleEndian.Uint64(e.Seed[8:])^c.Epoch)
	binary.LittleEndian.PutUint64(e.Seed[16:], binary.LittleEndian.Uint64(e.Seed[16:])^c.Sequence)
	return e
}
