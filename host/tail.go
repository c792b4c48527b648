package host

import (
	"time"

	"wasmhost.example/host/migration"
)

// tail holds the history records that a daemon makes while it moves, until
// they are sent. Its owner is the daemon, under its lock.
type tail struct {
	records [][]byte
	bytes   int64
	limit   int64
	from    uint64 // index of the first
	to      uint64 // index after the last
	busy    time.Duration
	stored  bool // the store has them too: of more than limit bytes nothing is held
	over    bool
}

func (t *tail) add(rec []byte) {
	t.to++
	t.bytes += int64(len(rec))
	if t.bytes > t.limit {
		t.over, t.records = true, nil
	}
	if !t.over {
		t.records = append(t.records, rec)
	}
}

// held says how much happened since the last take: bytes, records, and how long
// the daemon took for them.
func (t *tail) held() (int64, int, time.Duration) { return t.bytes, int(t.to - t.from), t.busy }

// take returns what happened, and begins anew.
func (t *tail) take() (cut, error) {
	c := cut{from: t.from, to: t.to, records: t.records, bytes: t.bytes, busy: t.busy}
	if t.over && !t.stored {
		return c, migration.Failf(migration.BufferFull, "more than %d bytes of events while the daemon moved", t.limit)
	}
	t.from, t.records, t.bytes, t.busy, t.over = t.to, nil, 0, 0, false
	return c, nil
}
