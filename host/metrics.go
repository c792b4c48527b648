package host

import (
	"errors"
	"maps"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/meter"
	"wasmhost.example/host/migration"
)

// Metrics is what a runtime has done since it was made, and what it has now. Every count
// of a kind is there from when the kind is known, at 0, with all its labels.
type Metrics struct {
	Kinds       map[string]KindMetrics // by kind; what is of more than MaxMeteredKinds kinds is together under OtherKinds
	Moves       map[MoveOutcome]uint64 // migrations that ended, as this node saw them
	MemoryBytes int64                  // of the daemons that are not passive, as of their last growth
	Recovered   int64                  // of ToRecover
	ToRecover   int64                  // daemons that the start brings back
	Accused     int                    // identities that are refused
	Lossy       int                    // daemons of which acknowledged outputs are lost
	Held        int                    // daemons that are held or wait for a standby
}

// MaxMeteredKinds bounds how many kinds are counted each by itself: peers may
// bring kinds with daemons.
const MaxMeteredKinds = 512

// OtherKinds is under what the rest is counted.
const OtherKinds = "(other)"

// KindMetrics is what the daemons of one kind did.
type KindMetrics struct {
	Events   uint64            // applied
	Repeats  uint64            // that had been applied before
	Outputs  uint64            // of the events applied
	Refused  uint64            // events that found a mailbox full
	Failures map[string]uint64 // events that failed: by the limit, or the kind of fault

	PassedOver map[string]uint64 // events that failed and that nobody tries again: by InternalSources
	Roomless   uint64            // tries of such events that found no room, and are made again

	RateWaits    uint64        // how often daemons waited for internal-rate or internal-bytes
	InternalTime time.Duration // of the processor, for events that the node delivers by itself

	Process  meter.Distribution // of one event in SampledEvents: how long its daemon took
	Delivery meter.Distribution // of the same: from when the daemon began until it was durable

	Daemons     map[string]int // by state
	Near        map[string]int // that are near a limit, by its name
	MemoryBytes int64          // that they hold
	Passivated  uint64
	Returned    map[Return]uint64 // daemons that were read from disk

	Downtime       meter.Distribution // of migrations from here
	MigrationBytes uint64             // sent
	Rounds         uint64             // of migrations from here that ended
}

// InternalSources are the sorts of events that the node delivers by itself.
var InternalSources = [...]string{"channel", "timer", "daemon", "call"}

var internalSource = map[string][]daemon.EventKind{"channel": {daemon.EventChannel, daemon.EventGap}, "timer": {daemon.EventTimer}, "daemon": {daemon.EventDaemon},
	"call": {daemon.EventAsk, daemon.ReplyKind(effect.Answered), daemon.ReplyKind(effect.Declined), daemon.ReplyKind(effect.Failed),
		daemon.ReplyKind(effect.NoSuchDaemon), daemon.ReplyKind(effect.TimedOut), daemon.ReplyKind(effect.Forked)}}

// MoveOutcome is how a migration ended.
type MoveOutcome struct {
	Kind    string
	Role    string // this node's: source or target
	Outcome string // moved, or a code of package migration
}

// Return is how a daemon came back from disk.
type Return struct {
	Why     string // start, event (of a passive one), or the name of a Mend
	Outcome string // running, failed or diverged
}

// meters are those of a runtime.
type meters struct {
	mu    lock.Mutex[lock.Leaf]
	kinds map[string]*tally.Kind
	moves map[MoveOutcome]uint64
}

// of returns the meter of a kind.
func (m *meters) of(kind string) *tally.Kind {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kinds == nil {
		m.kinds = make(map[string]*tally.Kind)
	}
	kind = m.name(kind)
	k := m.kinds[kind]
	if k == nil {
		k = &tally.Kind{}
		m.kinds[kind] = k
	}
	return k
}

// name returns under what a kind is counted. It needs m.mu.
func (m *meters) name(kind string) string {
	if m.kinds[kind] == nil && len(m.kinds) >= MaxMeteredKinds {
		return OtherKinds
	}
	return kind
}

// moved counts a migration that ended.
func (m *meters) moved(kind, role string, err error) {
	m.of(kind)
	outcome := "moved"
	if err != nil {
		outcome = "other"
		var e *migration.Error
		if errors.As(err, &e) {
			outcome = e.Code.String()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moves == nil {
		m.moves = make(map[MoveOutcome]uint64)
	}
	m.moves[MoveOutcome{m.name(kind), role, outcome}]++
}

// returns are all the ways back from disk, and moveOutcomes all ends of migrations.
var (
	returns      []Return
	moveOutcomes = []string{"moved", "other"}
)

func init() {
	whys := []string{"start", "event"}
	for _, how := range chain.Mends() {
		whys = append(whys, how.String())
	}
	for _, why := range whys {
		for _, outcome := range []lifecycle.State{lifecycle.Running, lifecycle.Failed, lifecycle.Diverged} {
			returns = append(returns, Return{why, outcome.String()})
		}
	}
	for c := migration.Code(0); c.Valid(); c++ {
		moveOutcomes = append(moveOutcomes, c.String())
	}
}

// Metrics returns what the runtime counted. It takes no daemon's lock.
func (r *Runtime) Metrics() Metrics {
	out := Metrics{Kinds: make(map[string]KindMetrics), MemoryBytes: r.idle.Bytes.Load(), Accused: r.evidence.Refused(), Held: len(r.Unconfirmed().List())}
	out.Lossy = r.losses.Count()
	done, total := r.Node().Recovery()
	out.Recovered, out.ToRecover = int64(done), int64(total)
	r.meters.mu.Lock()
	kinds := maps.Clone(r.meters.kinds)
	out.Moves = make(map[MoveOutcome]uint64, 2*len(moveOutcomes)*len(kinds))
	for kind := range kinds {
		for _, outcome := range moveOutcomes {
			out.Moves[MoveOutcome{kind, "source", outcome}], out.Moves[MoveOutcome{kind, "target", outcome}] = 0, 0
		}
	}
	maps.Copy(out.Moves, r.meters.moves)
	r.meters.mu.Unlock()
	for name, k := range kinds {
		out.Kinds[name] = readMeter(k)
	}
	all := r.table.Daemons()
	for _, d := range all {
		name := d.Kind()
		k, ok := out.Kinds[name]
		if !ok {
			name = OtherKinds
			if k, ok = out.Kinds[name]; !ok {
				continue // its kind came since
			}
		}
		state, memory, near := d.Shown()
		k.Daemons[state]++
		k.MemoryBytes += memory
		for _, name := range near.Names() {
			k.Near[name]++
		}
		out.Kinds[name] = k
	}
	return out
}

func readMeter(k *tally.Kind) KindMetrics {
	out := KindMetrics{Failures: make(map[string]uint64), PassedOver: make(map[string]uint64), Daemons: make(map[string]int), Passivated: k.Passivated.Load(),
		Downtime: k.Downtime.Read(), MigrationBytes: k.Bytes.Load(), Rounds: k.Rounds.Load()}
	for i := range k.Events {
		e := &k.Events[i]
		out.Events += e.Events.Load()
		out.Repeats += e.Repeats.Load()
		out.Outputs += e.Outputs.Load()
		out.Refused += e.Refused.Load()
		out.Roomless += e.Roomless.Load()
		out.RateWaits += e.Paced.Load()
		out.InternalTime += time.Duration(e.Internal.Load())
		for _, source := range InternalSources {
			for _, kind := range internalSource[source] {
				out.PassedOver[source] += e.Passed[kind].Load()
			}
		}
		for f := range e.Failures {
			out.Failures[tally.FailureNames[f]] += e.Failures[f].Load()
		}
		out.Process, out.Delivery = out.Process.Add(e.Process.Read()), out.Delivery.Add(e.Delivery.Read())
	}
	out.Near = make(map[string]int, len(shown.Limits))
	for i := range shown.Limits {
		out.Near[shown.Limits[i].Name] = 0
	}
	out.Returned = make(map[Return]uint64, len(returns))
	for _, r := range returns {
		out.Returned[r] = 0
	}
	k.Mu.Lock()
	defer k.Mu.Unlock()
	for r, n := range k.Returned {
		out.Returned[Return(r)] = n
	}
	return out
}

// knownKind is the kind as it is counted where a peer names it.
func (r *Runtime) knownKind(kind string) string {
	if !r.registry.Knows(kind) {
		return OtherKinds
	}
	return kind
}
