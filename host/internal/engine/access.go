package engine

import (
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/internal/textlog"
	"wasmhost.example/identity"
)

// What is read and set of a daemon by the rooms above. Unless it says otherwise a method
// here needs the daemon's lock.

// Lock takes the daemon's lock, whatever the daemon's state. The daemon holds it while it
// processes an event: Enter, Look and Attend wait with less patience.
func (d *Daemon) Lock() { d.mu.Lock() }

// TryLock is Lock where that needs no waiting, and reports whether it took the lock.
func (d *Daemon) TryLock() bool { return d.mu.TryLock() }

// Unlock gives the daemon's lock back.
func (d *Daemon) Unlock() { d.mu.Unlock() }

// Leader is the log that a cluster's daemon writes to; nil: it is no cluster's. It needs no
// lock.
func (x Cluster) Leader() Log { return x.d.leader }

// SetLeader makes the daemon a cluster's, before it is in the tables or under its lock.
func (x Cluster) SetLeader(l Log) { x.d.leader = l }

// Log are the daemon's last lines. It needs no lock.
func (d *Daemon) Log() *textlog.Log { return &d.log }

// Meter is where the daemon's kind is counted. It needs no lock.
func (d *Daemon) Meter() *tally.Kind { return d.meter }

// IsUnread reports whether the daemon is yet to be read. It needs no lock.
func (d *Daemon) IsUnread() bool { return d.unread.Load() }

// Waiting is how many senders are at the lock or behind a pause. It needs no lock.
func (x Mailbox) Waiting() int64 { return x.d.waiting.Load() }

// BeginMove has the daemon's state watched or replaced by nobody but the caller, until
// EndMove; false: somebody does already. It needs no lock.
func (x Moves) BeginMove() bool { return x.d.moving.CompareAndSwap(false, true) }

// EndMove ends what BeginMove began. It needs no lock.
func (x Moves) EndMove() { x.d.moving.Store(false) }

// IsMoving reports whether BeginMove was called, and EndMove not yet. It needs no lock.
func (x Moves) IsMoving() bool { return x.d.moving.Load() }

// Share is the daemon's part in the work that the node begins by itself. It needs no lock.
func (d *Daemon) Share() *fair.Flow { return d.share }

// Pacer spaces the daemon's events. It needs no lock.
func (x Moves) Pacer() *moving.Pacer { return &x.d.pacer }

// beginTail has the daemon's records collected from now on.
func (d *Daemon) beginTail() {
	d.tail = moving.NewTail(d.index, d.Limits().TailBytes, d.env.Store != nil)
}

// EndTail ends what beginTail began.
func (x Moves) EndTail() { x.d.tail = nil }

// Identify gives a daemon that is in no table yet its name and key, which becomes the
// daemon's.
func (x Making) Identify(name string, key *identity.KeyPair) { x.d.name, x.d.key = name, key }

// SetKey gives the daemon its key, which becomes the daemon's.
func (x Making) SetKey(key *identity.KeyPair) { x.d.key = key }

// Rename gives a daemon that is in no table the name.
func (x Making) Rename(name string) { x.d.name = name }

// SetEpoch makes what follows of the epoch.
func (x Making) SetEpoch(epoch uint64) { x.d.epoch = epoch }

// RaiseEpoch makes what follows of an epoch that is not lower.
func (x Making) RaiseEpoch(least uint64) { x.d.epoch = max(x.d.epoch, least) }

// GoOn notes a fact that has become durable as the daemon's next record: what follows is of
// its epoch.
func (x Making) GoOn(epoch uint64) {
	x.d.index++
	x.d.epoch = epoch
}

// HasCome notes the checkpoint by which the daemon came here, durable as the next record
// where recorded says so.
func (x Making) HasCome(epoch uint64, by *chain.Checkpoint, recorded bool) {
	d := x.d
	if recorded {
		d.index++
	}
	d.epoch, d.came = epoch, by
}

// HistoryFrom says which records of the daemon's history there are, and that its stored
// state stands behind them.
func (x Making) HistoryFrom(first, next uint64) {
	d := x.d
	d.firstIndex, d.index, d.snapshotIndex = first, next, next
}

// Adopt has replay take records as they are, or not: what they changed comes otherwise.
func (x Making) Adopt(on bool) { x.d.adopting = on }

// SetTime says of when the last event was.
func (x Making) SetTime(at int64) { x.d.lastTime = at }

// SetPrevious says which module the daemon can be rolled back to.
func (x Making) SetPrevious(module []byte) { x.d.previous = module }

// CountErrors has the daemon count at least so many errors.
func (x Making) CountErrors(least uint64) { x.d.stats.Errors = max(x.d.stats.Errors, least) }

// ForEvents gives a daemon that is made afresh its configuration and, where the caller made
// it, its code. fresh says that its identity was made with it.
func (x Making) ForEvents(config []byte, code daemon.Daemon, fresh bool) {
	d := x.d
	d.config, d.daemon, d.fresh = config, code, fresh
}

// LeaveUnread takes the daemon's lock for whoever reads it, and shows it as its history
// ends. It is done once, before the daemon serves.
func (x Making) LeaveUnread(stands *stored.Passive) {
	d := x.d
	d.mu.Lock()
	lock.HandOver(&d.mu)
	d.unread.Store(true)

	d.view.Show(func(s *shown.Standing) {
		s.State, s.Epoch, s.Sequence, s.Hash = lifecycle.Passive, stands.Epoch, stands.Sequence, stands.HeadHash
		s.Stats = shown.Stats{Processed: stands.Applied, Emitted: stands.Emitted}
	})
}

// LostOfSent notes in the daemon's log, and in its count of lost events, that n of what it
// sent were passed over. It needs no lock.
func (x Effects) LostOfSent(n int, to fmt.Stringer, why error) {
	x.d.lost.sent.Add(uint64(n))
	x.d.log.Add(2, fmt.Sprintf("of what it sent to %s: %v", to, why))
}

// Usage is what the daemon has used, as it was last shown. It needs no lock.
func (d *Daemon) Usage() daemon.Usage {
	state, _, _ := d.Shown()
	w := &d.work
	timers, daemons := w.events[daemon.EventTimer].Load(), w.events[daemon.EventDaemon].Load()
	channels := w.events[daemon.EventChannel].Load() + w.events[daemon.EventGap].Load()
	for k := daemon.EventAsk; int(k) < daemon.EventKinds; k++ {
		daemons += w.events[k].Load()
	}
	direct := d.view.Processed() - timers - daemons - channels
	return daemon.Usage{Entity: d.id, Name: d.name, Kind: d.kind, State: state,
		Time: time.Duration(w.time.Load()) + d.share.Used().Time, Bytes: w.bytes.Load(),
		Direct: direct, Timers: timers, Daemons: daemons, Channels: channels,
		Waiting: int(d.waiting.Load()), Turns: d.share.Waiting()}
}

// Bare makes a daemon that is in no table and has no code: who it is, and its key, which
// becomes the daemon's.
func Bare(node *Config, id identity.EntityID, key *identity.KeyPair) *Daemon {
	return &Daemon{node: node, env: node.Env, id: id, key: key}
}
