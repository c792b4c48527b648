package source

import (
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
)

// Progress is how far a migration is.
type Progress struct {
	Phase migration.Phase
	At    time.Time        // by the runtime's clock
	Bytes int64            // that were sent
	Done  int64            // of Whole
	Whole int64            // bytes to be sent, before compression, as far as is known: it may grow
	Round *migration.Round // that has ended just now; or nil
}

// tell publishes how far the migration is. It needs m.mu.
func (m *Migration) tell(r *migration.Round) {
	m.told = time.Now()
	if !m.progress.Idle() {
		m.progress.Publish(Progress{Phase: m.at.Phase().Shown(), At: m.env.Clock(), Bytes: m.bytes, Done: m.parts, Whole: m.whole, Round: r})
	}
}

// expect says what is to be sent, as far as is known; again where it is resumed.
func (m *Migration) expect(module int64, needed bool, memory int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whole = memory
	if needed {
		m.whole += module
	}
	m.tell(nil)
}

// sent counts bytes that went, and what part of the whole they were.
func (m *Migration) sent(bytes, part int64) {
	const often = 50 * time.Millisecond
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += bytes
	m.parts += part
	m.whole = max(m.whole, m.parts)
	if !m.progress.Idle() && time.Since(m.told) >= often {
		m.tell(nil)
	}
}

func (m *Migration) bytesSent() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// passed notes a round.
func (m *Migration) passed(r migration.Round) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passes = append(m.passes, r)
	m.tell(&r)
	m.notify(daemon.MigrationRound, &r, "")
	m.env.Logger.Debug("a round of a migration", "daemon", m.entity.Origin(), "round", r.Number, "how", r.How, "records", r.Records,
		"blocks", r.Blocks, "bytes", r.Bytes, "took", r.Took, "left", r.Left)
}

// rounds returns how many rounds there were after the first.
func (m *Migration) rounds() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.passes) - 1
}

// notify publishes where a migration from here stands. It needs m.mu.
func (m *Migration) notify(what daemon.Topic, round *migration.Round, reason string) {
	if m.d == nil { // its source tells of it
		return
	}
	m.env.Notify(daemon.Notification{Topic: what, Entity: m.entity, Name: m.d.Name, Kind: m.d.Kind, Epoch: m.epoch, Reason: reason, Peer: m.target, Source: true,
		Phase: m.at.Phase().Shown(), Round: round, Bytes: m.bytes, Downtime: m.downtime})
}
