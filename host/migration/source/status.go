package source

import (
	"time"

	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// Status is how a migration stands at one moment.
type Status struct {
	Name     string // the daemon's; empty where another node is the source
	Phase    migration.Phase
	Epoch    uint64 // under which the target owns the daemon, or would
	Sequence uint64 // of the daemon's last output, once it is released
	Bytes    int64  // that were sent
	Done     int64  // of Whole, as in Progress
	Whole    int64
	Rounds   int // that have ended
	Downtime time.Duration
	Began    time.Time // by the node's clock
}

// Status returns how the migration stands.
func (m *Migration) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()

	s := Status{Phase: m.at.Phase(), Epoch: m.above + 1, Bytes: m.bytes, Done: m.parts, Whole: m.whole, Rounds: len(m.passes),
		Downtime: m.downtime, Began: time.Unix(0, m.startedAt)}
	if m.d != nil {
		s.Name = m.d.Name
	}
	if m.release != nil {
		s.Epoch, s.Sequence = m.release.Epoch, m.release.Sequence
	}
	return s
}

// Release returns what the source releases the daemon by; nil: it is not released yet.
// The caller does not change it.
func (m *Migration) Release() *migration.Release {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.release
}

// MovesTo reports whether the migration has asked that the node own the daemon under the
// epoch.
func (m *Migration) MovesTo(node identity.NodeID, epoch uint64) bool {
	rel := m.Release()
	return rel != nil && node == m.target && epoch == rel.Epoch
}

// Answer tells a target in doubt what became of its migration. m is that of the daemon
// away from this node; nil: there is none.
func (t *Departures) Answer(m *Migration, from identity.NodeID, c migration.Conn, ask *migration.Ask) {
	log := t.env.Logger
	if m == nil || m.id != ask.Migration || m.target != from {
		exchange.Answer(log, c, migration.NewRefuse(migration.Failf(migration.Cancelled, "the source keeps daemon %s", ask.Entity.Origin())))
		return
	}

	m.mu.Lock()
	rel, released := m.release, m.at.Phase().Owner() == migration.OwnerTarget
	m.mu.Unlock()
	if !released {
		exchange.Answer(log, c, &migration.Hold{})
		return
	}
	exchange.Answer(log, c, rel)
	if _, err := exchange.Receive[*migration.Done](c); err != nil { // the source's own delivery hears it too
		log.Debug("a target that asked did not confirm", "error", err)
	}
}
