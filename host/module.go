package host

import (
	"context"
	"encoding/binary"
	"fmt"

	"wasmhost/abi"
	"wasmhost/host/internal/sandbox"
	"wasmhost/identity"
)

func faultKind(s string) abi.FaultKind { return abi.FaultKind(s) }

const limitWall = abi.LimitWall

// moduleFactory makes daemons of one compiled module. It is the main Factory:
// a daemon's code is an instantiation of the module.
type moduleFactory struct {
	module *sandbox.Module
}

// New makes a guest of the module.
func (f *moduleFactory) New(_ context.Context, env Env) (Daemon, error) {
	guest, err := f.module.NewGuest(sandbox.Options{Limits: sandboxLimits(env.Limits), Log: env.Log})
	if err != nil {
		return nil, fmt.Errorf("instantiating module %x: %w", f.module.Digest(), err)
	}
	return &moduleDaemon{report: f.module.Report(), guest: guest, limit: env.Limits.MemoryBytes}, nil
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

// moduleDaemon is a Daemon whose code is Wasm. The sandbox undoes its failed
// events and captures its state, so that it needs no code for either.
type moduleDaemon struct {
	report *abi.Report
	guest  *sandbox.Guest
	limit  int64         // of memory, bytes
	ev     sandbox.Event // reused from call to call
}

// errBroken says that a module daemon could not be put back after a failure.
var errBroken = sandbox.ErrBroken

// Name returns the module's digest.
func (d *moduleDaemon) Name() string { return d.report.Digest }

// Requirements returns none beyond what the limits bound.
func (d *moduleDaemon) Requirements() Requirements { return Requirements{} }

// Stateless reports whether the module declares that it keeps nothing.
func (d *moduleDaemon) Stateless() bool { return d.report.State == abi.StateStateless }

// MemoryBytes returns the size of the linear memory.
func (d *moduleDaemon) MemoryBytes() int64 { return int64(d.guest.MemoryBytes()) }

// Close frees the guest.
func (d *moduleDaemon) Close() error { return d.guest.Close() }

// Init passes the configuration to the guest.
func (d *moduleDaemon) Init(c *Call, config []byte) error { return d.guest.Init(d.event(c), config) }

// Process applies one event, or leaves no trace of it.
func (d *moduleDaemon) Process(c *Call, payload []byte) ([][]byte, error) {
	return d.guest.Process(d.event(c), payload)
}

// Snapshot returns what the guest's hook gives: nil where it has none.
func (d *moduleDaemon) Snapshot(c *Call) ([]byte, error) {
	if d.report.State != abi.StateHooks {
		return nil, nil
	}
	state, err := d.guest.Snapshot(d.event(c))
	if err != nil {
		return nil, fmt.Errorf("taking a snapshot: %w", err)
	}
	return state, nil
}

// Restore gives state to the guest's hook.
func (d *moduleDaemon) Restore(c *Call, state []byte) error {
	if d.report.State != abi.StateHooks {
		if len(state) != 0 {
			return fmt.Errorf("%w: %d bytes for module %s, which has no hook for them", ErrStatelessState, len(state), d.report.Digest)
		}
		return nil
	}
	if err := d.guest.Restore(d.event(c), state); err != nil {
		return fmt.Errorf("restoring %d bytes of state: %w", len(state), err)
	}
	return nil
}

// saveMemory implements capturer.
func (d *moduleDaemon) saveMemory() ([]byte, error) {
	s, err := d.guest.Save()
	if err != nil {
		return nil, err
	}
	return encodeMemory(s)
}

// loadMemory implements capturer.
func (d *moduleDaemon) loadMemory(b []byte) error {
	s, err := decodeMemory(b, d.limit)
	if err != nil {
		return err
	}
	return d.guest.Load(s)
}

func (d *moduleDaemon) freeze(since *sandbox.Frozen) (*sandbox.Frozen, error) {
	return d.guest.Freeze(since)
}

func (d *moduleDaemon) root() ([32]byte, error) { return d.guest.Root() }

func (d *moduleDaemon) thaw() { d.guest.Thaw() }

func (d *moduleDaemon) follow() *sandbox.Follower { return d.guest.Follow() }

func (d *moduleDaemon) fill(index []uint32, blocks []byte) error { return d.guest.Fill(index, blocks) }

func (d *moduleDaemon) become(s *sandbox.State) error { return d.guest.Become(s) }

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
	e.Sequence, e.Time, e.Channel, e.Kind = c.Sequence, c.Time, c.Channel, uint32(c.Kind)
	e.Seed = c.Self
	binary.LittleEndian.PutUint64(e.Seed[8:], binary.LittleEndian.Uint64(e.Seed[8:])^c.Epoch)
	binary.LittleEndian.PutUint64(e.Seed[16:], binary.LittleEndian.Uint64(e.Seed[16:])^c.Sequence)
	return e
}
