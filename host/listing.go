package host

import (
	"cmp"
	"slices"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/identity"
)

// MigrationInfo is a migration that this node takes or took part in.
type MigrationInfo struct {
	Entity   identity.EntityID
	Name     string // empty where it is not known any more
	Peer     identity.NodeID
	Source   bool // this node is its source; else its target
	State    MigrationState
	Phase    migration.Phase
	Epoch    uint64 // under which the target owns the daemon, or would
	Sequence uint64 // of the daemon's last output, where it is known
	Bytes    int64
	Done     int64 // of Whole, as in Progress
	Whole    int64
	Rounds   int // that have ended
	Downtime time.Duration
	Began    time.Time
	Ended    time.Time // zero: it has not
	Err      error     // why it failed
}

// MigrationState is what has become of a MigrationInfo.
type MigrationState string

// The states.
const (
	MoveRunning MigrationState = "running"
	MoveWaiting MigrationState = "waiting" // for the other side, which is not heard: see ResolveMigration
	MoveMoved   MigrationState = "moved"
	MoveFailed  MigrationState = "failed"
)

// failures keeps the last moves that failed, for those who ask.
type failures struct {
	mu   lock.Mutex[lock.Leaf]
	last []MigrationInfo // oldest first
}

const mostFailures = 256 // failed events of a daemon that are listed

func (f *failures) add(m MigrationInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.last) == mostFailures {
		f.last = slices.Delete(f.last, 0, 1)
	}
	f.last = append(f.last, m)
}

func (f *failures) list() []MigrationInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.last)
}

// List returns the migrations that run or wait, by when they began, and with
// past those that are over, at most 1000: those that moved a daemon as their
// receipts say, and the last that failed since the start.
func (r Migrations) List(past bool) ([]MigrationInfo, error) {
	out := r.rt.present()
	if past {
		over, err := r.rt.past()
		if err != nil {
			return nil, err
		}
		out = append(out, over...)
	}
	slices.SortStableFunc(out, func(a, b MigrationInfo) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.Name, b.Name))
	})
	return out[max(0, len(out)-mostMoves):], nil
}

const mostMoves = 1000 // migrations that are over and still listed

func (r *Runtime) present() (out []MigrationInfo) {
	waiting := make(map[identity.EntityID]Unsettled)
	for _, u := range r.Migrations().Unsettled() {
		waiting[u.Entity] = u
	}
	departures, arrivals := r.table.Moving()
	for _, m := range departures {
		id, mv := m.Entity(), runningMove(m)
		if u, ok := waiting[id]; ok {
			mv.State, mv.Epoch, mv.Sequence = MoveWaiting, u.Epoch, u.Sequence
		}
		out = append(out, mv)
	}
	for _, in := range arrivals {
		id := in.Entity()
		mv := MigrationInfo{Entity: id, Name: in.Name(), Peer: in.From(), State: MoveRunning, Phase: migration.Transfer, Epoch: in.Offer().Epoch + 1, Began: in.Began()}
		if u, ok := waiting[id]; ok {
			mv.State, mv.Phase, mv.Sequence = MoveWaiting, migration.Replay, u.Sequence
		}
		out = append(out, mv)
	}
	return out
}

// runningMove is a migration away from here that runs.
func runningMove(m *source.Migration) MigrationInfo {
	s := m.Status()
	return MigrationInfo{Entity: m.Entity(), Name: s.Name, Peer: m.Target(), Source: true, State: MoveRunning, Phase: s.Phase.Shown(), Epoch: s.Epoch,
		Bytes: s.Bytes, Done: s.Done, Whole: s.Whole, Rounds: s.Rounds, Began: s.Began}
}

func (r *Runtime) past() ([]MigrationInfo, error) {
	out := r.failures.list()
	err := r.evidence.EachReceipt(func(rec *chain.Receipt) error {
		f := &rec.Facts
		mv := MigrationInfo{Entity: f.Entity, Peer: f.To, Source: f.From == r.env.Self, State: MoveMoved, Phase: migration.Complete, Epoch: f.Epoch, Sequence: f.Sequence,
			Bytes: int64(rec.Source.Bytes), Rounds: int(rec.Source.Rounds), Downtime: rec.Downtime(), Ended: time.Unix(0, rec.Target.Activated)}
		if mv.Began = mv.Ended; rec.Whole() {
			mv.Began = time.Unix(0, rec.Source.Started)
		}
		if !mv.Source {
			if mv.Peer = f.From; f.To != r.env.Self {
				return nil // it came with the daemon: this node took no part
			}
		}
		mv.Name = r.nameOf(f.Entity)
		out = append(out, mv)
		return nil
	})
	return out, err
}

// nameOf returns the daemon's name, of one that is here or went elsewhere; empty where
// it is not known.
func (r *Runtime) nameOf(id identity.EntityID) string {
	w, err := r.table.Find(id)
	if err != nil {
		r.env.Logger.Error("looking up a daemon's name", "daemon", id.Origin(), "error", err)
	}
	if w.Here != nil {
		return w.Here.Name()
	}
	return w.Went.Name
}
