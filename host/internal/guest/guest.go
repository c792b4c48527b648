// Package guest makes a sandbox guest a daemon: it puts calls, limits and effects in the
// sandbox's words, and captures and restores memory as package snapshot writes it.
package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Factory makes daemons of one compiled module. It is the main daemon.Factory: a
// daemon's code is an instantiation of the module. It is safe for concurrent use.
type Factory struct {
	module *sandbox.Module
}

// NewFactory returns the factory of the module's daemons.
func NewFactory(m *sandbox.Module) *Factory { return &Factory{m} }

// Module returns the module.
func (f *Factory) Module() *sandbox.Module { return f.module }

// New makes a guest of the module.
func (f *Factory) New(_ context.Context, env daemon.Env) (daemon.Daemon, error) {
	guest, err := f.module.NewGuest(sandbox.Options{Self: env.Entity, Limits: SandboxLimits(env.Limits), Log: env.Log, Rules: env.Rules, Stop: env.Stop, Pause: env.Pause})
	if err != nil {
		return nil, fmt.Errorf("instantiating module %x: %w", f.module.Digest(), err)
	}

	return &Daemon{report: f.module.Report(), guest: guest, most: env.Limits.MemoryBytes}, nil
}

// sandboxPage is how many bytes a page of linear memory has.
const sandboxPage = 64 << 10

// SandboxLimits is l as the sandbox takes it: memory in pages of 64 KiB.
func SandboxLimits(l daemon.Limits) sandbox.Limits {
	s := sandbox.DefaultLimits()
	s.MemoryPages = uint32(l.MemoryBytes / sandboxPage)
	s.Fuel = uint64(l.Fuel)
	s.Wall = l.Wall
	s.OutputBytes = l.OutputBytes
	s.OutputCount = l.OutputCount
	s.LogBytes = l.LogBytes

	return s
}

// Daemon is a daemon.Daemon whose code is Wasm. The sandbox undoes its failed
// events and captures its state, so that it needs no code for either. One goroutine at
// a time may use it.
type Daemon struct {
	report *abi.Report
	guest  *sandbox.Guest
	most   int64 // of memory, bytes
	tracks *sandbox.Tracker
	ev     sandbox.Event // reused from call to call

	origins map[identity.EntityID]uint64 // of some senders
}

// Name returns the module's digest.
func (d *Daemon) Name() string { return d.report.Digest }

// Requirements returns none beyond what the limits bound.
func (d *Daemon) Requirements() daemon.Requirements { return daemon.Requirements{} }

// Answers reports whether the module answers calls itself.
func (d *Daemon) Answers() bool {
	return slices.ContainsFunc(d.report.Imports, func(i abi.Import) bool {
		return i.Module == abi.ImportModule && (i.Name == abi.ImportAnswer || i.Name == abi.ImportRefuse)
	})
}

// Stateless reports whether the module declares that it keeps nothing.
func (d *Daemon) Stateless() bool { return d.report.State == abi.StateStateless }

// MemoryBytes returns the size of the linear memory.
func (d *Daemon) MemoryBytes() int64 { return int64(d.guest.MemoryBytes()) }

// Report returns what the module is. It is not to be changed.
func (d *Daemon) Report() *abi.Report { return d.report }

// LeastMemory returns how many bytes of memory the module begins with.
func (d *Daemon) LeastMemory() int64 { return int64(d.report.Memory.Min) * sandboxPage }

// Fuel returns what the last call took, in units of about one instruction.
func (d *Daemon) Fuel() uint64 { return d.guest.Fuel() }

// Close frees the guest.
func (d *Daemon) Close() error { return d.guest.Close() }

// Init passes the configuration to the guest.
func (d *Daemon) Init(c *daemon.Call, config []byte) error {
	return d.guest.Init(d.event(c), config)
}

// Process applies one event, or leaves no trace of it.
func (d *Daemon) Process(c *daemon.Call, payload []byte) ([][]byte, error) {
	out, err := d.guest.Process(d.event(c), payload)
	if err == nil {
		if list := d.guest.Effects(); list != nil {
			c.Effects = effectsOf(list)
		}
	}

	return out, err
}

// Snapshot returns what the guest's hook gives: nil where it has none.
func (d *Daemon) Snapshot(c *daemon.Call) ([]byte, error) {
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
func (d *Daemon) Restore(c *daemon.Call, state []byte) error {
	if d.report.State != abi.StateHooks {
		if len(state) != 0 {
			return fmt.Errorf("%w: %d bytes for module %s, which has no hook for them", daemon.ErrStatelessState, len(state), d.report.Digest)
		}
		return nil
	}

	if err := d.guest.Restore(d.event(c), state); err != nil {
		return fmt.Errorf("restoring %d bytes of state: %w", len(state), err)
	}
	return nil
}

// Limit gives the guest other limits.
func (d *Daemon) Limit(l daemon.Limits) error {
	d.most = l.MemoryBytes
	return d.guest.Limit(SandboxLimits(l))
}

// SaveMemory writes the memory, without holding it a second time.
func (d *Daemon) SaveMemory(w io.Writer) error {
	m := snapshot.NewMemoryWriter(w)
	return d.guest.SaveTo(m.Begin, snapshot.ChunkBlocks, m.Chunk)
}

// LoadMemory makes the memory what SaveMemory wrote, with the changes since that
// SaveChanges gave, in order. After an error the daemon is of no use.
func (d *Daemon) LoadMemory(saved io.Reader, changes ...[]byte) error {
	parts := make([]*snapshot.MemoryReader, 0, 1+len(changes))
	small := true
	for i := range 1 + len(changes) {
		if i > 0 {
			saved = bytes.NewReader(changes[i-1])
		}
		m, err := snapshot.ReadMemory(saved, d.most)
		if err != nil {
			return err
		}
		if i > 0 && m.State.Image != parts[0].State.Image {
			return fmt.Errorf("%w: changes of another image", snapshot.ErrBadMemory)
		}
		parts, small = append(parts, m), small && m.Left <= 1
	}

	if small {
		return d.loadSmall(parts)
	}

	for _, m := range parts {
		for {
			index, blocks, err := m.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				m.Keep()
				err = d.guest.Fill(index, blocks)
			}
			if err != nil {
				return err
			}
		}
	}

	return d.guest.Become(parts[len(parts)-1].State)
}

// loadSmall loads a memory of few blocks, which is at rest until its next event.
func (d *Daemon) loadSmall(parts []*snapshot.MemoryReader) error {
	states := make([]*sandbox.State, len(parts))
	for i, m := range parts {
		s := m.State
		index, blocks, err := m.Next()
		if err == nil {
			s.Index, s.Blocks = index, blocks
			_, _, err = m.Next()
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		states[i] = s
	}

	s := states[0]
	if len(states) > 1 {
		var err error
		if s, err = sandbox.Merge(s, states[1:]...); err != nil {
			return err
		}
	}

	return d.guest.Load(s)
}

// Track begins anew to note what changes.
func (d *Daemon) Track() (err error) {
	if d.tracks != nil {
		d.tracks.Stop()
	}

	d.tracks, err = d.guest.Track()
	return err
}

// SaveChanges gives what changed since Track or the last SaveChanges.
func (d *Daemon) SaveChanges() ([]byte, error) {
	if d.tracks == nil {
		return nil, sandbox.ErrUntracked
	}

	s, err := d.tracks.Save()
	if err != nil {
		return nil, err
	}

	var b bytes.Buffer
	m := snapshot.NewMemoryWriter(&b)
	if err := m.Begin(s); err != nil {
		return nil, err
	}
	for first := 0; first < len(s.Index); first += snapshot.ChunkBlocks {
		end := min(first+snapshot.ChunkBlocks, len(s.Index))
		if err := m.Chunk(s.Index[first:end], s.Blocks[first*sandbox.BlockBytes:end*sandbox.BlockBytes]); err != nil {
			return nil, err
		}
	}

	return b.Bytes(), nil
}

// originOf returns the sender's origin, 0 where there is no sender. A hash for
// each event of senders that take turns would be a tenth of the event's time.
func (d *Daemon) originOf(sender identity.EntityID, first bool) uint64 {
	if sender.IsZero() {
		return 0
	}
	if first {
		return uint64(sender.Origin())
	}

	origin, ok := d.origins[sender]
	if !ok {
		origin = uint64(sender.Origin())
		if d.origins == nil || len(d.origins) >= 1024 {
			d.origins = make(map[identity.EntityID]uint64)
		}
		d.origins[sender] = origin
	}

	return origin
}

// Freeze returns what the guest is; with since, only the blocks written since then where
// that is known. From the first Freeze to Thaw the guest is not packed.
func (d *Daemon) Freeze(since *sandbox.Frozen) (*sandbox.Frozen, error) {
	return d.guest.Freeze(since)
}

// Root returns the hash of what the guest is.
func (d *Daemon) Root() ([32]byte, error) { return d.guest.Root() }

// Thaw says that no more frozen views will be compared. Those taken stay as they are.
func (d *Daemon) Thaw() { d.guest.Thaw() }

// Follow makes a Follower that stands at the image of the guest's module.
func (d *Daemon) Follow() *sandbox.Follower { return d.guest.Follow() }

// Fill writes blocks into a guest that is being made of another's state, whose they are
// then. Until Become it is not to be called. After an error the daemon is of no use.
func (d *Daemon) Fill(index []uint32, blocks []byte) error { return d.guest.Fill(index, blocks) }

// Become gives a filled guest the size and registers of s: it is what s was taken of. It
// keeps nothing of s.
func (d *Daemon) Become(s *sandbox.State) error { return d.guest.Become(s) }

// Adopt makes the guest what s says. Nothing of it is copied before the guest is called.
func (d *Daemon) Adopt(s *sandbox.Shared) error { return d.guest.LoadShared(s) }

// event fills the reused event from c.
func (d *Daemon) event(c *daemon.Call) *sandbox.Event {
	e := &d.ev
	if c.Sender != identity.EntityID(e.Sender) {
		e.Origin = d.originOf(c.Sender, identity.EntityID(e.Sender).IsZero())
		e.Sender = c.Sender
	}
	e.Epoch, e.Sequence, e.Time, e.Channel, e.Kind, e.Replay = c.Epoch, c.Sequence, c.Time, c.Channel, uint32(c.Kind), c.Replay
	e.Call, e.Status = c.Call, uint32(c.Status)
	return e
}

// effectsOf is what a guest asked for.
func effectsOf(list []sandbox.Effect) []effect.Effect {
	out := make([]effect.Effect, len(list))
	for i := range list {
		e := &list[i]
		out[i] = effect.Effect{Kind: effect.Kind(e.Kind), Channel: e.Channel, To: e.To, At: e.At, ID: e.ID, Payload: e.Payload}
	}

	return out
}
