package moving

import (
	"time"

	"wasmhost.example/host/migration"
)

// Tail holds the history records that a daemon makes while it moves, until they are
// sent. It is not safe for concurrent use: the daemon's lock guards it.
type Tail struct {
	records [][]byte
	bytes   int64
	limit   int64
	from    uint64 // index of the first
	to      uint64 // index after the last
	busy    time.Duration
	stored  bool // the store has them too: of more than limit bytes nothing is held
	over    bool
}

// NewTail makes a tail for the records from index at on, which holds at most limit bytes
// of them. stored says that the store has them too.
func NewTail(at uint64, limit int64, stored bool) *Tail {
	return &Tail{limit: limit, from: at, to: at, stored: stored}
}

// Add notes a record, and keeps it as it is.
func (t *Tail) Add(rec []byte) {
	t.to++
	t.bytes += int64(len(rec))
	if t.bytes > t.limit {
		t.over, t.records = true, nil
	}
	if !t.over {
		t.records = append(t.records, rec)
	}
}

// Work notes for how long the daemon worked on what it records.
func (t *Tail) Work(took time.Duration) { t.busy += took }

// Held is how much a daemon did since something of it was last taken.
type Held struct {
	Bytes   int64
	Records int
	Busy    time.Duration // that the daemon took for them
}

// Held says how much happened since the last Take.
func (t *Tail) Held() Held { return Held{Bytes: t.bytes, Records: int(t.to - t.from), Busy: t.busy} }

// Take returns what happened, and begins anew. Where the store does not have what is not
// held, it is a *migration.Error with code BufferFull.
func (t *Tail) Take() (Cut, error) {
	c := Cut{From: t.from, To: t.to, Records: t.records, Busy: t.busy}
	if t.over && !t.stored {
		return c, migration.Failf(migration.BufferFull, "more than %d bytes of events while the daemon moved", t.limit)
	}
	t.from, t.records, t.bytes, t.busy, t.over = t.to, nil, 0, 0, false
	return c, nil
}
