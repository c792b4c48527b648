package daemon

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"wasmhost.example/internal/canon"
)

// Limits bound what one daemon may take. A zero field means its default.
type Limits struct {
	MemoryBytes  int64         // linear memory
	Fuel         int64         // one event, in units of about one instruction
	Wall         time.Duration // one event; a guard beside Fuel, which is deterministic
	OutputBytes  int           // outputs of one event, together
	OutputCount  int           // outputs of one event
	LogBytes     int           // log text of one event; the rest is dropped, and an event that logs 16 times as much fails
	EventBytes   int           // payload of one event
	Mailbox      int           // events that may wait for one daemon
	Senders      int           // senders whose numbers one daemon remembers
	StateBytes   int64         // a snapshot's state
	ModuleBytes  int64         // an uploaded module
	TailBytes    int64         // records held back while a daemon moves
	SenderMemory time.Duration // how long a silent sender is remembered once Senders is reached

	// A daemon's state is stored after so many events, so many bytes of history
	// or so long since the last time, whichever comes first: what comes after is
	// replayed when the daemon is brought back.
	SnapshotEvents   int64
	SnapshotBytes    int64
	SnapshotInterval time.Duration

	// What a daemon may make of its own accord: events of its timers, and what it
	// sends and publishes. More waits.
	InternalRate  int64         // events a second
	InternalBytes int64         // bytes a second of what is written for them
	TimerInterval time.Duration // between two rounds of its timers, at least

	// History is how many records of its history a daemon keeps, for its chain to be
	// proven, its outputs read again, and repeated events answered as they were; 0: all
	// of them. Up to half as many more, and what came since its state was stored, stay
	// for a while.
	History int64
}

// DefaultLimits are the limits of a daemon for which nobody set others.
var DefaultLimits = Limits{
	MemoryBytes:  64 << 20,
	Fuel:         1 << 30,
	Wall:         10 * time.Second,
	OutputBytes:  4 << 20,
	OutputCount:  4096,
	LogBytes:     64 << 10,
	EventBytes:   1 << 20,
	Mailbox:      1024,
	Senders:      65536,
	StateBytes:   256 << 20,
	ModuleBytes:  64 << 20,
	TailBytes:    64 << 20,
	SenderMemory: 24 * time.Hour,

	SnapshotEvents:   10_000,
	SnapshotBytes:    16 << 20,
	SnapshotInterval: 5 * time.Minute,

	InternalRate:  1000,
	InternalBytes: 2 << 20,
	TimerInterval: 10 * time.Millisecond,
}

// MaxMemoryBytes is how many bytes of memory a daemon may have. It leaves out the last page of 32-bit addresses, which the sandbox
// needs.
const MaxMemoryBytes = 4<<30 - 64<<10

// MaxStateBytes is how many bytes a daemon's limit on its state may be: at least the largest memory.
const MaxStateBytes = 4 << 30

// Of what one array can have in a stored record or a message, canon.MaxElements, there may
// not be more: what is stored must be readable.
const (
	maxOutputs = canon.MaxElements // outputs of one event: its record is one array
	maxSenders = canon.MaxElements // senders that a daemon remembers: a snapshot has them in one array
)

// limitField is one of the limits, by its stable name.
type limitField struct {
	name string
	unit Unit
	most int64
	own  bool // a kind or a daemon can have its own
	what string
	get  func(*Limits) int64
	set  func(*Limits, int64)
}

func field[T ~int | ~int64](name string, unit Unit, most int64, own bool, at func(*Limits) *T, what string) limitField {
	return limitField{name, unit, most, own, what, func(l *Limits) int64 { return int64(*at(l)) }, func(l *Limits, v int64) { *at(l) = T(v) }}
}

var limitFields = []limitField{
	field("memory", Bytes, MaxMemoryBytes, true, func(l *Limits) *int64 { return &l.MemoryBytes }, "linear memory"),
	field("fuel", Count, 1<<50, true, func(l *Limits) *int64 { return &l.Fuel }, "one event, in units of about one instruction"),
	field("wall", Nanoseconds, int64(time.Hour), true, func(l *Limits) *time.Duration { return &l.Wall }, "one event, by the clock"),
	field("output-bytes", Bytes, 16<<20, true, func(l *Limits) *int { return &l.OutputBytes }, "outputs and effects of one event, together"),
	field("output-count", Count, maxOutputs, true, func(l *Limits) *int { return &l.OutputCount }, "outputs and effects of one event"),
	field("log-bytes", Bytes, 64<<20, true, func(l *Limits) *int { return &l.LogBytes }, "log text of one event; the rest is dropped, and an event that logs 16 times as much fails"),
	field("event-bytes", Bytes, 16<<20, true, func(l *Limits) *int { return &l.EventBytes }, "payload of one event"),
	field("mailbox", Count, 1<<20, true, func(l *Limits) *int { return &l.Mailbox }, "events that may wait for one daemon"),
	field("senders", Count, maxSenders, true, func(l *Limits) *int { return &l.Senders }, "senders whose numbers one daemon remembers"),
	field("state-bytes", Bytes, MaxStateBytes, true, func(l *Limits) *int64 { return &l.StateBytes }, "a state that is saved or moved; at least the memory"),
	field("module-bytes", Bytes, 1<<30, false, func(l *Limits) *int64 { return &l.ModuleBytes }, "an uploaded module"),
	field("tail-bytes", Bytes, 4<<30, false, func(l *Limits) *int64 { return &l.TailBytes }, "records held in memory while a daemon moves"),
	field("sender-memory", Nanoseconds, math.MaxInt64, false, func(l *Limits) *time.Duration { return &l.SenderMemory }, "how long a silent sender is remembered once `senders` is reached"),
	field("snapshot-events", Count, math.MaxInt64, true, func(l *Limits) *int64 { return &l.SnapshotEvents }, "events after which the state is stored"),
	field("snapshot-bytes", Bytes, math.MaxInt64, true, func(l *Limits) *int64 { return &l.SnapshotBytes }, "bytes of history after which the state is stored"),
	field("snapshot-interval", Nanoseconds, math.MaxInt64, true, func(l *Limits) *time.Duration { return &l.SnapshotInterval }, "time after which the state is stored"),
	field("internal-rate", Count, 1<<20, true, func(l *Limits) *int64 { return &l.InternalRate }, "events a second of its timers, and that it sends or publishes"),
	field("internal-bytes", Bytes, 1<<30, true, func(l *Limits) *int64 { return &l.InternalBytes }, "bytes a second that are written for these"),
	field("timer-interval", Nanoseconds, int64(time.Hour), true, func(l *Limits) *time.Duration { return &l.TimerInterval }, "least time between two rounds of its timers"),
	field("history", Count, math.MaxInt64, true, func(l *Limits) *int64 { return &l.History }, "records of its history that are kept, for its chain to be proven and its outputs and answers to be read again; without it, all"),
}

// Validate names the first field that is out of bounds. Errors wrap
// ErrBadLimit.
func (l Limits) Validate() error {
	for _, f := range limitFields {
		if got := f.get(&l); got < 0 || got > f.most {
			return fmt.Errorf("%w: %s is %d; it must be between 0 (the default) and %d", ErrBadLimit, f.name, got, f.most)
		}
	}
	return nil
}

// Over returns l where its fields are set, and below's where not.
func (l Limits) Over(below Limits) Limits {
	for _, f := range limitFields {
		if f.get(&l) == 0 {
			f.set(&l, f.get(&below))
		}
	}
	return l
}

// ValidateOwn is Validate for what a kind or daemon has of its own.
func (l Limits) ValidateOwn() error {
	for _, f := range limitFields {
		if !f.own && f.get(&l) != 0 {
			return fmt.Errorf("%w: %s is the node's: a kind or daemon has none of its own", ErrBadLimit, f.name)
		}
	}
	return l.Validate()
}

// Value returns the limit of that name: 0 where it is not set, or is none.
func (l *Limits) Value(name string) int64 {
	if f := limitNamed(name); f != nil {
		return f.get(l)
	}
	return 0
}

// With returns the limits with those of change, by name, in the place of l's; a 0 takes a
// limit away. What a kind or daemon cannot have of its own is ErrBadLimit.
func (l Limits) With(change map[string]int64) (Limits, error) {
	set, err := LimitsOf(change)
	if err != nil {
		return Limits{}, err
	}

	for name := range change {
		f := limitNamed(name)
		if !f.own {
			return Limits{}, fmt.Errorf("%w: %s is the node's: a kind or daemon has none of its own", ErrBadLimit, name)
		}
		f.set(&l, f.get(&set))
	}

	return l, nil
}

// Map returns the fields that are set, by name: bytes, counts, nanoseconds.
func (l Limits) Map() map[string]int64 {
	m := make(map[string]int64)
	for _, f := range limitFields {
		if v := f.get(&l); v != 0 {
			m[f.name] = v
		}
	}
	return m
}

// LimitsOf is the inverse of Map, for the limits that a kind or daemon can
// have of its own. Errors wrap ErrBadLimit.
func LimitsOf(m map[string]int64) (Limits, error) {
	l, err := limitsOf(m, false)
	if err != nil {
		return Limits{}, err
	}
	return l, l.ValidateOwn()
}

// limitsOf also takes the node's, where node says so, and checks no bounds.
func limitsOf(m map[string]int64, node bool) (Limits, error) {
	var l Limits
	known := 0
	for _, f := range limitFields {
		if v, ok := m[f.name]; ok {
			f.set(&l, v)
			known++
		}
	}

	if known != len(m) {
		for name := range m {
			if limitNamed(name) == nil {
				return Limits{}, fmt.Errorf("%w: there is no limit %q; there are %s", ErrBadLimit, name, strings.Join(limitNames(node), ", "))
			}
		}
	}

	return l, nil
}

func limitNamed(name string) *limitField {
	for i := range limitFields {
		if limitFields[i].name == name {
			return &limitFields[i]
		}
	}
	return nil
}

func limitNames(node bool) []string {
	var names []string
	for _, f := range limitFields {
		if f.own || node {
			names = append(names, f.name)
		}
	}
	return names
}

// ParseLimits reads limits that a kind or daemon can have of its own from texts
// of the form name=value: a number, with KiB, MiB or GiB for bytes, or a
// duration such as 250ms for wall. Of two with one name the later counts.
// Errors wrap ErrBadLimit.
func ParseLimits(texts []string) (Limits, error) {
	m, err := parseLimits(texts, false)
	if err != nil {
		return Limits{}, err
	}
	return LimitsOf(m)
}

// ParseNodeLimits is ParseLimits for those of a node: Options.Limits. Those that do not
// fit one another are an *UnfitError, which is ErrBadLimit too.
func ParseNodeLimits(texts []string) (Limits, error) {
	l, err := ParseNodeLimit(texts)
	if err != nil {
		return Limits{}, err
	}
	return l, l.Fit()
}

// ParseNodeLimit is ParseNodeLimits of one limit or several that are not compared with one
// another.
func ParseNodeLimit(texts []string) (Limits, error) {
	m, err := parseLimits(texts, true)
	if err != nil {
		return Limits{}, err
	}

	l, err := limitsOf(m, true)
	if err != nil {
		return Limits{}, err
	}
	return l, l.Validate()
}

func parseLimits(texts []string, node bool) (map[string]int64, error) {
	m := make(map[string]int64)
	for _, t := range texts {
		name, value, ok := strings.Cut(t, "=")
		if !ok {
			return nil, fmt.Errorf("%w: %q is not name=value; names are %s", ErrBadLimit, t, strings.Join(limitNames(node), ", "))
		}

		n, err := parseAmount(strings.TrimSpace(value))
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%w: %q: the value is a number above 0, with KiB, MiB or GiB, or a duration such as 250ms", ErrBadLimit, t)
		}

		m[strings.TrimSpace(name)] = n
	}

	return m, nil
}

func parseAmount(s string) (int64, error) {
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err == nil && n > math.MaxInt64>>(10*(i+1)) {
				err = strconv.ErrRange
			}
			return n << (10 * (i + 1)), err
		}
	}

	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}

	d, err := time.ParseDuration(s)
	return int64(d), err
}

// Unit is what a limit counts.
type Unit uint8

// The units.
const (
	Count Unit = iota
	Bytes
	Nanoseconds
)

// text writes an amount as ParseLimits reads it.
func (u Unit) text(v int64) string {
	switch u {
	case Bytes:
		for i, name := range []string{"GiB", "MiB", "KiB"} {
			if shift := 10 * (3 - i); v >= 1<<shift && v%(1<<shift) == 0 {
				return strconv.FormatInt(v>>shift, 10) + name
			}
		}
	case Nanoseconds:
		return time.Duration(v).String()
	}
	return strconv.FormatInt(v, 10)
}

// LimitText writes the value of the limit of that name as ParseLimits reads it: 64MiB, 10s,
// 4096. What is no limit is written as bytes.
func LimitText(name string, v int64) string {
	if f := limitNamed(name); f != nil {
		return f.unit.text(v)
	}
	return Bytes.text(v)
}

// SettableLimit is one of the limits as documentation shows it.
type SettableLimit struct {
	Name          string
	Unit          Unit
	Default, Most int64 // 0: no bound
	Own           bool  // a kind or a daemon can have its own
	What          string
}

// SettableLimits returns the limits that can be set.
func SettableLimits() []SettableLimit {
	out := make([]SettableLimit, len(limitFields))
	for i, f := range limitFields {
		out[i] = SettableLimit{f.name, f.unit, f.get(&DefaultLimits), f.most, f.own, f.what}
	}
	return out
}
