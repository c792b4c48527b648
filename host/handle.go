package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost/host/migration"
	"wasmhost/identity"
)

// MigrationOptions say how a daemon moves.
type MigrationOptions struct {
	// OmitIdentity leaves the daemon's private key behind: on the target the
	// daemon cannot sign, unless its identity was registered there.
	OmitIdentity bool

	// RetryNotReady is for how long a target that is not ready is asked again;
	// 0: it is asked once.
	RetryNotReady time.Duration
}

// Migration is one daemon's move away from this node. It is safe for
// concurrent use.
type Migration struct {
	rt      *Runtime
	d       *hosted
	id      migration.ID
	target  identity.NodeID
	options MigrationOptions
	started time.Time
	cancel  context.CancelCauseFunc
	done    chan struct{}
	changes feed[PhaseChange]

	mu       sync.Mutex
	phase    migration.Phase
	since    time.Time // when phase began
	took     []PhaseTime
	bytes    int64
	downtime time.Duration
	epoch    uint64
	err      error
	release  *migration.Release // what was released; nil before Cutover
}

// PhaseChange is one step of a migration.
type PhaseChange struct {
	Phase migration.Phase
	At    time.Time
}

// PhaseTime is how long a migration stood in a phase.
type PhaseTime struct {
	Phase migration.Phase
	Took  time.Duration
}

// Report is how a migration went that is Complete.
type Report struct {
	Entity   identity.EntityID
	From, To identity.NodeID
	Epoch    uint64        // under which the target owns the daemon
	Bytes    int64         // of module, history, snapshot and tail that were sent
	Downtime time.Duration // from the pause until the source heard that the target serves
	Phases   []PhaseTime
}

// errCancelled is the cause of a migration that was cancelled.
var errCancelled = migration.Failf(migration.Cancelled, "the migration was cancelled")

func (r *Runtime) newMigration(d *hosted, target identity.NodeID, o MigrationOptions) (*Migration, error) {
	m := &Migration{rt: r, d: d, target: target, options: o, done: make(chan struct{}), phase: migration.Snapshot}
	m.started = r.clock()
	m.since = m.started
	if _, err := rand.Read(m.id[:]); err != nil {
		return nil, fmt.Errorf("naming a migration: %w", err)
	}
	return m, nil
}

// Entity returns which daemon moves.
func (m *Migration) Entity() identity.EntityID { return m.d.id }

// Phase returns where the migration stands.
func (m *Migration) Phase() migration.Phase {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase
}

// Phases returns the phases from now on; the first is the present one. The
// channel is closed after the last, or when ctx ends.
func (m *Migration) Phases(ctx context.Context) <-chan PhaseChange {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase.Terminal() {
		c := make(chan PhaseChange, 1)
		c <- PhaseChange{m.phase, m.since}
		close(c)
		return c
	}
	out := make(chan PhaseChange, 16)
	out <- PhaseChange{m.phase, m.since}
	in := m.changes.subscribe(ctx, 16)
	go func() {
		defer close(out)
		for c := range in {
			out <- c // there is room for every phase there is
		}
	}()
	return out
}

// Done is closed when the migration is Complete or Aborted.
func (m *Migration) Done() <-chan struct{} { return m.done }

// Wait returns how the migration went, or the *migration.Error that aborted
// it: the daemon is then served here. When ctx ends first, the migration goes
// on.
func (m *Migration) Wait(ctx context.Context) (Report, error) {
	select {
	case <-m.done:
	case <-ctx.Done():
		return Report{}, fmt.Errorf("waiting for a migration in phase %s: %w", m.Phase(), context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return Report{}, m.err
	}
	return Report{Entity: m.d.id, From: m.rt.self, To: m.target, Epoch: m.epoch, Bytes: m.bytes, Downtime: m.downtime,
		Phases: append([]PhaseTime(nil), m.took...)}, nil
}

// Cancel aborts the migration unless the daemon is released already: then it
// can only go on.
func (m *Migration) Cancel() { m.cancel(errCancelled) }

// signal moves the migration to its next phase.
func (m *Migration) signal(s migration.Signal, by migration.Role) error {
	m.mu.Lock()
	next, err := migration.Next(m.phase, s, by)
	if err != nil {
		m.mu.Unlock()
		return migration.Failf(migration.ProtocolError, "%v", err)
	}
	now := m.rt.clock()
	m.took = append(m.took, PhaseTime{m.phase, now.Sub(m.since)})
	m.phase, m.since = next, now
	m.mu.Unlock()
	m.rt.logger.Debug("migration", "daemon", m.d.id.Origin(), "phase", next)
	m.changes.publish(PhaseChange{next, now})
	return nil
}

// again starts the phases anew, for another attempt.
func (m *Migration) again() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase, m.since, m.took, m.bytes = migration.Snapshot, m.rt.clock(), nil, 0
}

func (m *Migration) sent(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += int64(n)
}

// asError makes a *migration.Error of whatever ended an attempt.
func asError(ctx context.Context, err error) *migration.Error {
	var me *migration.Error
	if ctx.Err() != nil && errors.As(context.Cause(ctx), &me) {
		return me
	}
	if errors.As(err, &me) {
		return me
	}
	if ctx.Err() != nil {
		return migration.Failf(migration.Cancelled, "this node is shutting down")
	}
	code := migration.StateFailed
	switch {
	case errors.Is(err, ErrNotPortable):
		code = migration.NotPortable
	case errors.Is(err, ErrUnknownNode), errors.Is(err, ErrUnreachable):
		code = migration.TargetUnavailable
	}
	return migration.Failf(code, "%v", err)
}
