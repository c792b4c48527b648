package channel

import (
	"sort"
	"time"

	"wasmhost.example/identity"
)

// Limits bound a channel's log. What is over a limit is dropped, the oldest
// first, whether or not somebody has not read it yet: who has not sees a gap. A
// zero field means its default; the newest event is always kept.
type Limits struct {
	_      struct{} `cbor:",toarray"`
	Events uint64
	Bytes  int64         // of encoded events
	Age    time.Duration // negative: no bound
}

// DefaultLimits are those of a channel for which nobody set others.
var DefaultLimits = Limits{Events: 1 << 16, Bytes: 64 << 20, Age: 7 * 24 * time.Hour}

// Over returns l where its fields are set, and below's where not.
func (l Limits) Over(below Limits) Limits {
	if l.Events == 0 {
		l.Events = below.Events
	}

	if l.Bytes == 0 {
		l.Bytes = below.Bytes
	}

	if l.Age == 0 {
		l.Age = below.Age
	}
	return l
}

// cachedBytes is how much of a stored log is kept in memory, beside the index.
const cachedBytes = 2 << 20

// Log is the newest events of one channel, in chunks. It is not safe for
// concurrent use.
type Log struct {
	limits Limits
	stored bool // chunks may lose their bytes: a store has them
	chunks []Chunk
	start  int // of the first chunk in chunks
	cached int // index of the first chunk that has its bytes
	next   uint64
	count  uint64
	bytes  int64
	memory int64
}

// NewLog makes a log whose next event has the sequence next. A stored log keeps
// only the newest chunks in memory.
func NewLog(l Limits, stored bool, next uint64) *Log {
	return &Log{limits: l.Over(DefaultLimits), stored: stored, next: max(next, 1)}
}

// First returns the sequence of the oldest event that is kept; Next where none
// is.
func (l *Log) First() uint64 {
	if l.start == len(l.chunks) {
		return l.next
	}
	return l.chunks[l.start].First
}

// Next returns the sequence that the next event will have.
func (l *Log) Next() uint64 { return l.next }

// Size returns how many events are kept, and their bytes.
func (l *Log) Size() (events uint64, bytes int64) { return l.count, l.bytes }

// Limits returns the limits that hold.
func (l *Log) Limits() Limits { return l.limits }

// Append adds events and returns the chunks that hold them. The payloads are
// copied; none is longer than MaxPayload.
func (l *Log) Append(at int64, from identity.EntityID, payloads [][]byte) []Chunk {
	var out []Chunk
	most := int(min(maxChunk, max(l.limits.Events/8, 1)))
	length := int(min(maxChunkLen, max(l.limits.Bytes/8, 1)))

	for len(payloads) > 0 {
		n, size := 0, 0
		for n < len(payloads) && n < most && (n == 0 || size+len(payloads[n]) < length) {
			size += len(payloads[n]) + 48
			n++
		}

		c := Chunk{First: l.next, Count: n, Time: at, Bytes: make([]byte, 0, size)}
		for _, p := range payloads[:n] {
			c.Bytes = AppendEvent(c.Bytes, at, from, p)
		}

		c.Size = len(c.Bytes)
		out = append(out, c)
		l.Add(c)
		payloads = payloads[n:]
	}

	return out
}

// Add adds a chunk that begins at Next, or opens a log that is empty.
func (l *Log) Add(c Chunk) {
	l.chunks = append(l.chunks, c)
	l.next = c.First + uint64(c.Count)
	l.count += uint64(c.Count)
	l.bytes += int64(c.Size)
	if c.Bytes == nil {
		l.cached = len(l.chunks)
		l.memory = 0
		return
	}

	l.memory += int64(c.Size)
	for l.stored && l.memory > cachedBytes && l.cached < len(l.chunks)-1 {
		l.memory -= int64(l.chunks[l.cached].Size)
		l.chunks[l.cached].Bytes = nil
		l.cached++
	}
}

// Trim drops what is over the limits at now: First is then where the log begins.
func (l *Log) Trim(now int64) {
	for len(l.chunks)-l.start > 1 {
		c := &l.chunks[l.start]
		old := l.limits.Age > 0 && c.Time < now-int64(l.limits.Age)
		if l.count <= l.limits.Events && l.bytes <= l.limits.Bytes && !old {
			break
		}

		l.count -= uint64(c.Count)
		l.bytes -= int64(c.Size)
		if l.start >= l.cached {
			l.memory -= int64(c.Size)
		}

		*c = Chunk{}
		l.start++
		l.cached = max(l.cached, l.start)
	}
	if l.start > 64 && l.start > len(l.chunks)/2 {
		l.cached -= l.start
		l.chunks = append([]Chunk(nil), l.chunks[l.start:]...)
		l.start = 0
	}
}

// At returns the chunk that holds the event, or the first after it; false where
// there is none yet.
func (l *Log) At(sequence uint64) (Chunk, bool) {
	live := l.chunks[l.start:]
	i := sort.Search(len(live), func(i int) bool { return live[i].Last() >= sequence })
	if i == len(live) {
		return Chunk{}, false
	}
	return live[i], true
}
