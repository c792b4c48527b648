package host

import (
	"wasmhost/host/migration"
)

// tail holds the history records that a daemon makes while it moves, until
// they are sent. Its owner is the daemon, under its lock.
type tail struct {
	records [][]byte
	bytes   int64
	limit   int64
	next    uint64 // index of the first of records
	over    bool
}

func (t *tail) add(rec []byte) {
	if t.bytes+int64(len(rec)) > t.limit {
		t.over = true
	}
	if t.over { // the migration will fail: hold no more
		return
	}
	t.records = append(t.records, rec)
	t.bytes += int64(len(rec))
}

// take returns what is held, and holds nothing.
func (t *tail) take() (from uint64, records [][]byte, err error) {
	if t.over {
		return 0, nil, migration.Failf(migration.BufferFull, "more than %d bytes of events while the daemon moved", t.limit)
	}
	from, records = t.next, t.records
	t.next, t.records, t.bytes = t.next+uint64(len(records)), nil, 0
	return from, records, nil
}
