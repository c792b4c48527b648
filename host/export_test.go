package host

import (
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/residence"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/outbox"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Expected returns how many daemons the node was told to expect.
func (r *Runtime) Expected() int {
	return r.table.CountExpected()
}

// Grasp returns a reference to the daemon, as a caller has it that found it and
// has not delivered yet.
func (r *Runtime) Grasp(id identity.EntityID) (func(daemon.Event) (daemon.Result, error), error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return func(ev daemon.Event) (daemon.Result, error) {
		if err := d.Mailbox().Enter(context.Background(), 0); err != nil {
			return daemon.Result{}, err
		}
		defer d.Unlock()
		var p pending.Event
		if err := d.Mailbox().Apply(&engine.Input{Event: ev}, &p); err != nil {
			return daemon.Result{}, err
		}
		return p.Result, p.Err
	}, nil
}

// NewDaemon makes the code of a daemon of the kind.
func (r *Runtime) NewDaemon(kind string) (daemon.Daemon, error) {
	f, _, err := r.registry.Factory(context.Background(), kind, nil)
	if err != nil {
		return nil, err
	}
	return f.New(context.Background(), daemon.Env{Limits: r.env.Limits, Log: func(int, string) {}})
}

// Held returns what can become of a daemon that is prepared here; nil where
// none is.
func (r *Runtime) Held(id identity.EntityID) (activate func(*migration.Release) error, discard func()) {
	in := r.table.Arrival(id)
	if in == nil {
		return nil, nil
	}
	return in.Activate, func() { in.Discard(migration.Source) }
}

// Horizon is the horizon of one daemon.
type Horizon struct{ h snapshot.DedupTable }

// Advance is advance.
func (h *Horizon) Advance(sender identity.EntityID, number uint64) { h.h.Advance(sender, number, 1) }

// Seen is seen.
func (h *Horizon) Seen(sender identity.EntityID, number uint64) bool { return h.h.Seen(sender, number) }

// List is list.
func (h *Horizon) List() []snapshot.SenderMark { return h.h.List() }

// Room is room.
func (h *Horizon) Room(sender identity.EntityID, limit int, before int64) error {
	return h.h.Room(sender, limit, before)
}

// HearsOldNews has a member of a cluster deal with an entry of the directory as it does
// with one that it hears of before it has verified that the daemon is its own.
func (r *Runtime) HearsOldNews(e directory.Entry) error {
	d, err := r.find(e.Entity)
	if err != nil {
		return err
	}
	cluster.LeaderOf(d).Restart()
	r.cluster.CompareWith(d, e, r.cluster.SessionNow())
	return nil
}

// SealSnapshot signs a snapshot anew, as its daemon could.
func SealSnapshot(s *snapshot.Snapshot, key *identity.KeyPair) error { return s.Seal(key) }

// PutIdleAway does at once what is done now and then: daemons that are idle
// become passive, and states are stored that are due.
func (r *Runtime) PutIdleAway() { r.putIdleAway() }

// Passivate makes the daemon passive at once, and reports whether it could.
func (r *Runtime) Passivate(id identity.EntityID) bool {
	d, err := r.find(id)
	return err == nil && d.Memory().Passivate()
}

// ReadDelta reads a stored delta as the first behind a snapshot that has the
// digest base.
func ReadDelta(id identity.EntityID, base chain.Hash, value []byte) error {
	return stored.ReadFirstDelta(withStore().env.Store, id, base, value)
}

// withStore is a runtime of which only the store is there, and empty.
var withStore = sync.OnceValue(func() *Runtime {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		panic(err)
	}
	return &Runtime{env: &env.Env{Store: s}}
})

// StoredDigest names a stored snapshot.
func StoredDigest(id identity.EntityID, value []byte) (chain.Hash, error) {
	index, s, err := stored.Read(withStore().env.Store, value, id)
	if err != nil {
		return chain.Hash{}, err
	}
	return stored.Digest(index, s), nil
}

// Pace returns how long the daemon waits between two events.
func (r *Runtime) Pace(id identity.EntityID) time.Duration {
	d, err := r.find(id)
	if err != nil {
		return -1
	}
	return d.Moves().Pacer().Interval()
}

// RecordLegacyEvent returns a history record of a direct event as versions wrote it
// whose guests saw Event.Sender: it follows what the daemon has.
func (r *Runtime) RecordLegacyEvent(id identity.EntityID, ev daemon.Event, at int64, outputs [][]byte) (index uint64, rec []byte, err error) {
	d, err := r.find(id)
	if err != nil {
		return 0, nil, err
	}
	d.Lock()
	defer d.Unlock()
	e := &journal.Event{Sender: ev.Sender, Number: ev.Number, Time: at, Payload: ev.Payload, Applied: d.Position().Applied + 1,
		Before: d.Position().Head, Parent: d.Position().HeadHash, Epoch: d.Position().Epoch, Outputs: outputs}
	return d.Position().Next, e.Encode(), nil
}

// AwaitReaders waits until so many readers wait for the daemon; -1: until none do.
func (r *Runtime) AwaitReaders(id identity.EntityID, n int64) {
	d, err := r.find(id)
	for err == nil && (n > 0 && d.Info().Waiting.Readers < n || n < 0 && d.Info().Waiting.Readers > 0) {
		runtime.Gosched()
	}
}

// AwaitQueries waits until so many queries wait for the daemon.
func (r *Runtime) AwaitQueries(id identity.EntityID, n int64) {
	d, err := r.find(id)
	for err == nil && d.Mailbox().Queries() < n {
		runtime.Gosched()
	}
}

// AwaitBusy waits until the daemon processes an event.
func (r *Runtime) AwaitBusy(id identity.EntityID) {
	d, err := r.find(id)
	for err == nil && d.TryLock() {
		d.Unlock()
		runtime.Gosched()
	}
}

// AwaitBrought waits until events of so many bytes wait for the daemon.
func (r *Runtime) AwaitBrought(id identity.EntityID, n int) {
	d, err := r.find(id)
	for err == nil && d.Info().Waiting.Bytes < int64(n) {
		runtime.Gosched()
	}
}

// AwaitFollowers waits until followers hold so many bytes.
func (r *Runtime) AwaitFollowers(n int64) {
	for r.budgets.Followers.Use().Used != n {
		runtime.Gosched()
	}
}

// SignResidence signs a statement by whatever keys are given.
func SignResidence(s *residence.Statement, daemon, node *identity.KeyPair) error {
	return s.Sign(daemon, node)
}

// Serves reports whether the daemon may answer here at this moment.
func (r *Runtime) Serves(id identity.EntityID) bool {
	d, err := r.find(id)
	if err != nil || r.holds.Has(id) {
		return false
	}
	l := cluster.LeaderOf(d)
	if l == nil {
		return true
	}
	return !l.Ended() && l.Holding() == nil // it may be let go of, and still be in the tables
}

// SignReach signs that the history here of the daemon goes so far.
func (r *Runtime) SignReach(id identity.EntityID, epoch, next uint64, sum [32]byte) ([]byte, error) {
	return r.cluster.ProveReach(id, reach.Extent{Epoch: epoch, Next: next, Sum: sum})
}

// EagerMost is how many daemons are read before the node is ready.
const EagerMost = eagerMost

// ReadsFirst has the runtime, which is not started yet, read so many daemons before it is
// ready.
func ReadsFirst(r *Runtime, many int) { r.eager = many }

// Readers is how many unread daemons are read at a time.
func Readers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// Unread reports whether a daemon is yet to be read.
func Unread(r *Runtime, id identity.EntityID) bool {
	return r.table.Daemon(id).IsUnread()
}

// AwaitWanted returns when somebody waits for an unread daemon.
func AwaitWanted(r *Runtime, id identity.EntityID) {
	d := r.table.Daemon(id)
	for d.IsUnread() {
		if wanted, _ := r.reading.Queue(); slices.Contains(wanted, d) {
			return
		}
		runtime.Gosched()
	}
}

// FoundBefore returns what is done with a daemon that was found before it left: tail it
// after an output, and export its chain.
func (r *Runtime) FoundBefore(id identity.EntityID) (tail func(context.Context, uint64) error, export func(context.Context, io.Writer) error, err error) {
	d, err := r.find(id)
	if err != nil {
		return nil, nil, err
	}
	tail = func(ctx context.Context, sequence uint64) error {
		_, err := d.Outputs().TailAfter(ctx, sequence)
		return err
	}
	end, seal, err := r.sealFor(r.env.Context, d)
	export = func(_ context.Context, w io.Writer) error { return d.WhileHere(r.writeChain(id, end, seal, w)) }
	return tail, export, err
}

// NextUnread returns the daemon that is read next.
func NextUnread(r *Runtime) identity.EntityID {
	wanted, rest := r.reading.Queue()
	for _, d := range append(wanted, rest...) {
		if d.IsUnread() {
			return d.Entity()
		}
	}
	return identity.EntityID{}
}

// SetLoss records that what came after an output is lost.
func (r *Runtime) SetLoss(id identity.EntityID, after uint64, why string) error {
	return r.losses.Record(id, after, 1, why)
}

// HoldsOf makes a runtime without a store hold at most so many tombstones.
func (r *Runtime) HoldsOf(tombstones int) { r.table.BoundMemory(tombstones) }

// Remembers has the runtime keep last words and receipts of so many daemons that left,
// and lets go of the others.
func (r *Runtime) Remembers(daemons int) error {
	r.evidence.Remember(daemons)
	if err := r.evidence.Trim(r.env.Context, r.table); err != nil {
		return err
	}
	return r.env.Store.Commit(&store.Batch{}) // what was let go of is written
}

// IndexFits reports whether those who ask for a daemon that moved away are answered by
// the index.
func (r *Runtime) IndexFits() bool { return r.table.IndexFits() }

// CheckIndex checks it, as a start does.
func (r *Runtime) CheckIndex() error { return r.table.CheckIndex(r.env.Context) }

// LastWord is what ends a channel's stream.
var LastWord = lastWord

// ActivateLate returns what activates the copy that this node has now of the daemon, as
// who has decided to do so and is late does.
func (r *Runtime) ActivateLate(id identity.EntityID) func(directory.Entry) error {
	s := r.cluster.Copies().Find(id)
	return func(e directory.Entry) error {
		s.Fence()
		return r.cluster.ActivateFenced(r.env.Context, e, s)
	}
}

// Entry is what the directory itself says of the daemon.
func (r *Runtime) Entry(ctx context.Context, id identity.EntityID) (directory.Entry, error) {
	return r.cluster.Directory().Read(ctx, id)
}

// TakeEffects has a daemon of the node take effects, as they come from other daemons.
func (r *Runtime) TakeEffects(ctx context.Context, m *channel.Carry) (outbox.Taken, error) {
	return outboxOf{r}.Take(ctx, 0, m, m.Effects)
}
