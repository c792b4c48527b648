package source

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Migration is one daemon's move away from this node, or from another that
// this node ordered to move it. It is safe for concurrent use.
type Migration struct {
	of      *Departures
	env     *env.Env
	d       *Subject // nil when another node is the source
	id      migration.ID
	entity  identity.EntityID
	source  identity.NodeID
	target  identity.NodeID
	options Options
	started time.Time // monotonic, as since

	startedAt int64 // the same by the runtime's clock, Unix nanoseconds

	resuming context.Context // of one that was released before the node started; nil: of another

	above uint64 // the daemon's epoch when it was to move: the target's is the next. Set before the migration is in the table

	cancel   context.CancelCauseFunc
	done     chan struct{}
	changes  feed.Feed[PhaseChange]
	progress feed.Feed[Progress]
	watched  <-chan Progress // from the beginning on, where options.watch asks for it

	mu        lock.Mutex[lock.Migration]
	at        migration.Machine
	since     time.Time // when the phase that users see began
	began     time.Time // the same by the runtime's clock
	attempts  int
	took      []PhaseTime
	bytes     int64
	parts     int64 // of whole, that are done
	whole     int64 // bytes of module, memory and records, before compression
	passes    []migration.Round
	root      []byte // the hash of the memory that was released; nil: not known
	queued    int64  // events that waited at the release
	receipt   *chain.Receipt
	unbound   []subscriber.Unbound
	span      trace.Span      // nil: it is not traced
	within    context.Context // with span
	phaseSpan trace.Span
	told      time.Time // when progress was published last
	downtime  time.Duration
	epoch     uint64
	err       error
	release   *migration.Release // from Releasing on

	takenBack chan struct{} // closed when an operator takes the daemon back
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
	Rounds   []migration.Round // the last is the pause
	Receipt  *chain.Receipt    // what both hosts signed; nil where the target did not say

	// Unbound are the daemon's subscriptions that the target could not bind yet,
	// and why. It goes on trying; none holds up the others.
	Unbound []subscriber.Unbound
}

// errCancelled is the cause of a migration that was cancelled.
var errCancelled = migration.Failf(migration.Cancelled, "the migration was cancelled")

func (t *Departures) newMigration(entity identity.EntityID, d *Subject, target identity.NodeID, o Options) (*Migration, error) {
	m := &Migration{of: t, env: t.env, d: d, entity: entity, source: o.Source, target: target, options: o, done: make(chan struct{}), takenBack: make(chan struct{}), at: migration.NewOrchestrator()}
	if d != nil {
		m.source, m.at = t.env.Self, migration.NewSource()
	}
	if m.options.Downtime == 0 {
		m.options.Downtime = DefaultDowntime
	}
	if m.options.MaxRounds == 0 {
		m.options.MaxRounds = DefaultRounds
	}
	m.started, m.began = time.Now(), t.env.Clock()
	m.startedAt = m.began.UnixNano()
	m.since = m.started
	if _, err := rand.Read(m.id[:]); err != nil {
		return nil, fmt.Errorf("naming a migration: %w", err)
	}
	return m, nil
}

// Entity returns which daemon moves.
func (m *Migration) Entity() identity.EntityID { return m.entity }

// Source returns the node that the daemon leaves.
func (m *Migration) Source() identity.NodeID { return m.source }

// Target returns the node that the daemon goes to.
func (m *Migration) Target() identity.NodeID { return m.target }

// Retries returns how often a target that was not ready has been asked again. It
// is 0 for an ordered migration: its source counts.
func (m *Migration) Retries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.attempts-1, 0)
}

// Phase returns where the migration stands.
func (m *Migration) Phase() migration.Phase {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at.Phase().Shown()
}

// Phases returns the phases from now on; the first is the present one, and no
// two that follow one another are the same. A target that was not ready and is
// asked again begins anew at Snapshot. The channel is closed after the last
// phase, when ctx ends, or when its reader lags by more than 16 phases.
func (m *Migration) Phases(ctx context.Context) <-chan PhaseChange {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes.Subscribe(ctx, 16, PhaseChange{m.at.Phase().Shown(), m.began})
}

// Watch returns how far the migration is, from now on: at each phase, after each
// round, and some times a second in between. The channel is closed after the
// last, when ctx ends, or when its reader lags by more than 256.
func (m *Migration) Watch(ctx context.Context) <-chan Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.progress.Subscribe(ctx, 256, Progress{Phase: m.at.Phase().Shown(), At: m.began, Bytes: m.bytes, Done: m.parts, Whole: m.whole})
}

// Done is closed when the migration is Complete or Aborted.
func (m *Migration) Done() <-chan struct{} { return m.done }

// Wait returns how the migration went, or the *migration.Error that aborted
// it: the daemon is then served by its source. When ctx ends first, the
// migration goes on; a ctx that has ended already asks how it stands now.
func (m *Migration) Wait(ctx context.Context) (Report, error) {
	select {
	case <-m.done:
	default:
		select {
		case <-m.done:
		case <-ctx.Done():
			return Report{}, fmt.Errorf("waiting for a migration in phase %s: %w", m.Phase(), context.Cause(ctx))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return Report{}, m.err
	}
	return Report{Entity: m.entity, From: m.source, To: m.target, Epoch: m.epoch, Bytes: m.bytes, Downtime: m.downtime,
		Phases: append([]PhaseTime(nil), m.took...), Rounds: append([]migration.Round(nil), m.passes...), Receipt: m.receipt, Unbound: m.unbound}, nil
}

// Cancel aborts the migration unless the daemon is released already: then it
// can only go on.
func (m *Migration) Cancel() { m.cancel(errCancelled) }

// signal moves the migration to its next phase.
func (m *Migration) signal(s migration.Signal, by migration.Role) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step(s, by)
}

// step is signal. It needs m.mu.
func (m *Migration) step(s migration.Signal, by migration.Role) error {
	was := m.at.Phase()
	if err := m.at.Signal(s, by); err != nil {
		return migration.Failf(migration.ProtocolError, "%v", err)
	}
	m.entered(was)
	return nil
}

// hear takes the phase of which the source of an ordered migration tells. It needs m.mu.
func (m *Migration) hear(p migration.Phase) error {
	was := m.at.Phase()
	if err := m.at.Hear(p); err != nil {
		return migration.Failf(migration.ProtocolError, "%v", err)
	}
	m.entered(was)
	return nil
}

// entered tells who follows that the migration has left phase was, where users see
// another now. It needs m.mu.
func (m *Migration) entered(was migration.Phase) {
	m.env.Logger.Debug("migration", "daemon", m.entity.Origin(), "phase", m.at.Phase())
	p := m.at.Phase().Shown()
	if p == was.Shown() {
		return
	}

	now := time.Now()
	m.took = append(m.took, PhaseTime{was.Shown(), now.Sub(m.since)})
	m.since, m.began = now, m.env.Clock()
	m.changes.Publish(PhaseChange{p, m.began})
	m.tell(nil)
	m.notify(daemon.MigrationPhase, nil, "")
	m.tracePhase()
}

// again starts the phases anew, for another attempt.
func (m *Migration) again() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(migration.Again, migration.Source); err != nil {
		return err
	}
	m.release = nil
	m.since, m.took, m.bytes, m.parts, m.whole, m.passes = time.Now(), nil, 0, 0, 0, nil
	return nil
}

// committed reports whether the release is durable, or may be: nothing makes the
// migration fail then.
func (m *Migration) committed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at.Phase().Committed()
}
