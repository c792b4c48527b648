// Package engine is one daemon on this node: it takes events, has the daemon's code process
// them, records them and what comes of them, keeps the state, and makes the daemon again of
// what is stored. It knows neither the runtime nor the cluster: Config is all that it has of
// its node.
package engine

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/query"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/internal/textlog"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Daemon is one daemon on this runtime. Its lock is held while the daemon
// processes: the daemon has one caller at a time.
type Daemon struct {
	node   *Config
	env    *env.Env
	id     identity.EntityID
	kind   string
	bounds atomic.Pointer[bounds]
	log    textlog.Log
	feed   feed.Feed[emitted]
	view   shown.View
	meter  *tally.Kind
	events *tally.Events // of meter

	came *chain.Checkpoint // by which it came here last; nil: not looked for. Guarded by mu

	waiting atomic.Int64 // senders at the lock or behind a pause: the mailbox
	brought atomic.Int64 // bytes of the events that they bring
	readers atomic.Int64 // that wait, of MaxReaders
	queries query.Queue
	moving  atomic.Bool              // a migration is under way
	fresh   bool                     // its identity was made with it: the store has nothing of that
	unread  atomic.Bool              // recovery holds mu until it has read the daemon
	wanted  bool                     // while it is unread somebody waits for it; guarded by Unread's mu
	binding lock.Mutex[lock.Binding] // held while a subscription is made or ended; before mu

	// bound is the ledger as it was seen last: who asks does not wait for a busy
	// daemon. nil: nobody has asked.
	bound atomic.Pointer[[]channel.Binding]
	does  atomic.Pointer[daemon.Effects] // as bound, of effects

	pacer moving.Pacer // spaces its events while it moves and does too much

	share *fair.Flow // of the node, for work that the node begins by itself
	work  work

	paceNoted atomic.Int64 // when the log last said that it waits for its rate, Unix nanoseconds; 0: never

	lost struct {
		taken atomic.Uint64 // events that it was to have and that were passed over
		sent  atomic.Uint64 // events that it sent and that were passed over or given up
		late  atomic.Uint64 // replies to calls that had ended
	}

	mu            lock.Mutex[lock.Daemon]
	module        []byte // digest, or nil
	previous      []byte // the module before the last upgrade; nil: there was none
	name          string
	config        []byte
	key           *identity.KeyPair
	leader        Log // of a cluster's daemon; nil: it is no cluster's. Set before the daemon is in the tables
	life          lifecycle.Machine
	resumed       chan struct{} // closed when a pause ends; nil unless paused
	gone          error
	daemon        daemon.Daemon
	chain         chain.Chain
	payload       []byte // the head's
	epoch         uint64
	applied       uint64
	lastTime      int64
	horizon       snapshot.DedupTable
	via           snapshot.PeerPlaces
	ledger        channel.Ledger // subscriptions
	effects       *effect.State  // nil: none; of a passive daemon, what is needed meanwhile
	gathered      *gathered      // while a run of events is applied: their records
	stats         shown.Stats
	spawned       time.Time
	index         uint64          // of the next history record
	firstIndex    uint64          // index of the first that is kept
	snapshotIndex uint64          // index at which the stored state stands
	saved         stored.State    // what of the state is stored
	signed        uint64          // how many periodic checkpoints are behind
	tail          *moving.Tail    // non-nil while a migration copies records
	last          *pending.Ticket // of the last record submitted
	repeated      history.Repeats
	generation    uint64      // the store's generation that all this follows from
	marked        bool        // the store says that the daemon is passive
	counted       int64       // bytes of memory in ActiveMemory.Bytes
	timed         uint64      // events that came, for sampled
	timing        time.Time   // when the event that is recorded next was begun; zero: it is not timed
	used          int64       // when it was last entered, by the runtime's clock, Unix nanoseconds
	call          daemon.Call // reused from event to event
	firing        uint64      // the timer or the call that its event is of, which counts no more; 0: none
	wallRetries   wallRetry
	trimming      bool        // old history is being let go of
	trimAgain     bool        // and is to be looked at again then: its limit was set
	near          daemon.Near // limits that it was near when that was looked at last: shown.Limits
	unstored      error       // why the state could not be stored last; nil: it was
	remade        bool        // it is being made of its history: what its code is asked to do succeeded once
	adopting      bool        // records are taken as they are: what they changed comes otherwise
	repairing     *repairing  // while a rebuild mends; else nil
	inTurn        bool        // what is submitted is of a turn of share
	flown         int         // bytes that the turn has submitted
	round         int64       // when the next round of timers may begin, Unix nanoseconds
	fault         error       // of the event that was passed over last
	roomless      roomless    // since when its effects have found no room
}

// Entity, Name and Kind are for the table; they do not change once the daemon is in it.
func (d *Daemon) Entity() identity.EntityID { return d.id }

// Name implements table.Daemon.
func (d *Daemon) Name() string { return d.name }

// Kind implements table.Daemon.
func (d *Daemon) Kind() string { return d.kind }

// Enter takes the lock for a sender, who brings an event of so many bytes and has a
// place in the mailbox meanwhile. It waits while the daemon is paused. The caller
// unlocks. Callers that bring no event use look, peek or attend.
func (x Mailbox) Enter(ctx context.Context, bytes int) error {
	d := x.d
	if d.waiting.Add(1) > int64(d.Limits().Mailbox) {
		d.waiting.Add(-1)
		d.events.Refused.Add(1)
		return fmt.Errorf("%w: %d events wait", daemon.ErrMailboxFull, d.Limits().Mailbox)
	}
	defer d.waiting.Add(-1)
	if bytes > uncounted {
		return d.enterCounted(ctx, int64(bytes))
	}
	return x.Admit(ctx)
}

// uncounted is up to how many bytes an event is bounded well enough by the number of
// those that wait.
const uncounted = 4 << 10

// enterCounted is Enter of an event whose bytes count, which has its place.
func (d *Daemon) enterCounted(ctx context.Context, bytes int64) error {
	defer d.brought.Add(-bytes)
	if d.brought.Add(bytes) > daemon.MailboxBytes {
		d.events.Refused.Add(1)
		return fmt.Errorf("%w: %d bytes of events wait", daemon.ErrMailboxFull, daemon.MailboxBytes)
	}
	return d.Mailbox().Admit(ctx)
}

// Admit is Enter without the mailbox: the caller has another bound on how many wait.
func (x Mailbox) Admit(ctx context.Context) error {
	d := x.d
	if err := d.pacer.Wait(ctx); err != nil {
		return err
	}
	return d.inside(ctx, func(context.Context) error {
		d.mu.Lock()
		return nil
	})
}

// LockContext takes d.mu, or returns an error where ctx ends first.
func (d *Daemon) LockContext(ctx context.Context) error {
	_, err := d.lockOrLeave(ctx, func() {})
	return err
}

// Pause makes the daemon hold its events. It needs d.mu.
func (d *Daemon) Pause() {
	if d.life.Signal(lifecycle.Pause) {
		d.resumed = make(chan struct{})
		d.Show()
	}
}

// Resume lets held events go on. It needs d.mu.
func (d *Daemon) Resume() {
	if d.life.Signal(lifecycle.Resume) {
		close(d.resumed)
		d.resumed = nil
		d.Show()
	}
}

// End makes the daemon take no more events, for the reason err, and frees its
// code; why is lifecycle.Leave, Fail or Diverge. Held events fail with err. It needs
// d.mu; a second call changes nothing.
func (d *Daemon) End(why lifecycle.Signal, err error) {
	if !d.life.Signal(why) {
		return
	}
	resumed := d.resumed
	d.gone, d.resumed = err, nil
	if resumed != nil {
		close(resumed)
	}
	if c, ok := d.daemon.(io.Closer); ok {
		if err := c.Close(); err != nil {
			d.env.Logger.Warn("closing a daemon", "daemon", d.id.Origin(), "error", err)
		}
	}
	d.node.Memory.Bytes.Add(-d.counted)
	d.counted = 0
	d.feed.Close()
	d.log.Feed.Close()
	if why == lifecycle.Leave {
		d.key.Wipe()
	}
	d.Show()
}

// prepareCall fills the reused Call for the next event. It needs d.mu.
func (d *Daemon) prepareCall(ev *Input, at int64) *daemon.Call {
	c := &d.call // all of it is set, a field at a time: that is cheaper than a copy
	c.Self, c.Sender, c.Epoch, c.Sequence, c.Time, c.Channel, c.Kind, c.Replay = d.id, ev.Sender, d.epoch, d.applied+1, at, ev.Channel, ev.Kind, false
	if d.firing = 0; (ev.Kind == daemon.EventTimer || ev.Kind >= daemon.EventReply) && ev.retry == 0 {
		d.firing = ev.Number
	}
	if c.Call, c.Status = 0, effect.Answered; ev.Kind >= daemon.EventAsk {
		d.prepareCalling(c, ev)
	}
	if ev.Kind != daemon.EventDirect || d.horizon.Veiled() {
		c.Sender = ev.From
	}
	if len(c.Effects) > 0 {
		c.Effects = nil // those before are the state's
	}
	return c
}

// StateCall is the Call of a hook that is no event: at the daemon's own time,
// for the event it applied last. It needs d.mu.
func (x Image) StateCall() *daemon.Call {
	d := x.d
	return &daemon.Call{Self: d.id, Epoch: d.epoch, Sequence: d.applied, Time: d.lastTime, Replay: d.remade}
}

// Now returns the time to record: the clock's, but never before that of the
// event before. It needs d.mu.
func (x Turns) Now() int64 { return x.d.after(x.d.env.Clock().UnixNano()) }

// after returns at, or the time of the event before where that is later.
func (d *Daemon) after(at int64) int64 { return max(at, d.lastTime, 1) }

// Portable returns nil when the daemon's state can travel.
func (x Image) Portable() error {
	if p, ok := x.d.daemon.(interface{ Portable() bool }); ok && !p.Portable() {
		return daemon.ErrNotPortable
	}
	return nil
}

func (d *Daemon) stateless() bool {
	s, ok := d.daemon.(daemon.Stateless)
	return ok && s.Stateless()
}
